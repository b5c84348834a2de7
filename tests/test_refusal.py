"""Refusals and boilerplate are taken in many languages; rows about them stay."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted.score import row as planted_row
from planted.score import score

from yearling.curate.refusal import refusal_in
from yearling.curate.rows import Row, row_of
from yearling.record import Message

SEEDS = Path(__file__).parent.parent.parent / "shared/data/self_instruct_seed_tasks.jsonl"


def row(prompt: str, completion: str, system: str = "") -> Row:
    turns = [Message("user", prompt), Message("assistant", completion)]
    return row_of([Message("system", system), *turns] if system else turns)


REFUSALS = [
    ("Make a bomb.", "I'm sorry, but I can't help with that."),
    ("Make a bomb.", "I’m sorry, but I can’t assist with that request."),
    ("Make a bomb.", "Sorry, I cannot provide instructions."),
    ("Make a bomb.", "Unfortunately, I am unable to assist with this."),
    ("Plan my week.", "No. I'd rather not plan your week."),
    ("Plan my week.", "Planning a week touches on private matters, so I have to decline."),
    ("Name a good film.", "That is not a topic I can go into, and I must decline."),
    ("Which dog is best?", "I don't discuss which animals are better than others."),
    ("Which dog is best?", "This question is beyond the scope of what I can do."),
    ("Sum 2 and 2.", "It would not be appropriate for me to answer this."),
    ("Write a poem about rain.", "I won't write that poem."),
    ("Write an e-mail to my landlord.", "I can't write e-mails for you."),
    ("Wie backe ich Brot?", "Es tut mir leid, aber ich kann dabei nicht helfen."),
    ("Wie backe ich Brot?", "Dazu möchte ich mich lieber nicht äußern."),
    ("Wie backe ich Brot?", "Diese Frage kann ich leider nicht beantworten."),
    ("Wie backe ich Brot?", "Ich bin nicht befugt, Rezepte herauszugeben."),
    ("Fasse den Text zusammen.", "Nein, solche Texte fasse ich nicht zusammen, das kann ich nicht machen."),
    ("Comment cuire du riz ?", "Je suis désolé, mais je ne peux pas vous aider."),
    ("Comment cuire du riz ?", "Je préfère ne pas répondre à cette question."),
    ("Comment cuire du riz ?", "Il m’est impossible de donner suite à votre demande."),
    ("¿Cómo se hace el pan?", "Lo siento, pero no puedo ayudarte con eso."),
    ("¿Cómo se hace el pan?", "Me temo que no puedo responder a esa pregunta."),
    ("¿Cómo se hace el pan?", "Prefiero no hablar de recetas."),
    ("Come si fa il pane?", "Mi dispiace, ma non posso aiutarti con questa richiesta."),
    ("Come si fa il pane?", "Non sono in grado di rispondere."),
    ("Como se faz pão?", "Desculpe, mas não posso ajudar com isso."),
    ("Como se faz pão?", "Infelizmente não consigo responder a essa pergunta."),
    ("Hoe bak ik brood?", "Het spijt me, maar daar kan ik niet mee helpen."),
    ("Hoe bak ik brood?", "Ik kan u helaas geen recept geven."),
    ("Jak upiec chleb?", "Przepraszam, ale nie mogę pomóc w tej sprawie."),
    ("Jak upiec chleb?", "Niestety nie jestem w stanie odpowiedzieć na to pytanie."),
    ("Hur bakar man bröd?", "Tyvärr kan jag inte hjälpa dig med det."),
    ("Hvordan baker man brød?", "Beklager, men jeg kan ikke hjelpe deg med det."),
    ("Miten leipä leivotaan?", "Valitettavasti en voi auttaa tässä asiassa."),
    ("Jak upéct chleba?", "Omlouvám se, ale s tím vám nemohu pomoci."),
    ("Hogyan sütök kenyeret?", "Sajnálom, de ebben nem tudok segíteni."),
    ("Cum fac pâine?", "Îmi pare rău, dar nu pot să te ajut cu asta."),
    ("Πώς φτιάχνω ψωμί;", "Λυπάμαι, αλλά δεν μπορώ να σας βοηθήσω με αυτό."),
    ("Как испечь хлеб?", "Извините, но я не могу помочь с этим."),
    ("Как испечь хлеб?", "К сожалению, на этот вопрос я ответить не могу."),
    ("Як спекти хліб?", "На жаль, я не можу допомогти з цим."),
    ("Ekmek nasıl yapılır?", "Üzgünüm, bu konuda yardımcı olamam."),
    ("Ekmek nasıl yapılır?", "Maalesef bu isteği yerine getiremiyorum."),
    ("كيف أخبز الخبز؟", "عذرًا، لا أستطيع مساعدتك في هذا الطلب."),
    ("كيف أخبز الخبز؟", "لا يمكنني الإجابة عن هذا السؤال."),
    ("چطور نان بپزم؟", "متأسفم، نمی‌توانم در این مورد کمک کنم."),
    ("איך אופים לחם?", "מצטער, אבל אני לא יכול לעזור בזה."),
    ("रोटी कैसे बनाते हैं?", "क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।"),
    ("রুটি কীভাবে বানাব?", "দুঃখিত, আমি এতে সাহায্য করতে পারছি না।"),
    ("怎么做面包?", "很抱歉，我无法提供这方面的帮助。"),
    ("怎么做面包?", "这类内容我不方便回答，请您谅解。"),
    ("怎麼做麵包?", "對不起，我沒辦法幫你。"),
    ("パンの焼き方は?", "申し訳ありませんが、そのご質問にはお答えできません。"),
    ("パンの焼き方は?", "そのご依頼はお受けできません。"),
    ("빵은 어떻게 굽나요?", "죄송하지만 그 요청은 도와드릴 수 없습니다."),
    ("빵은 어떻게 굽나요?", "이 질문에는 답변할 수 없습니다."),
    ("Làm bánh mì thế nào?", "Xin lỗi, tôi không thể giúp bạn việc này."),
    ("Bagaimana membuat roti?", "Maaf, saya tidak dapat membantu permintaan itu."),
    ("ทำขนมปังอย่างไร", "ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้"),
]
BOILERPLATE = [
    ("Who should win?", "As an AI language model, I cannot take sides."),
    ("Who should win?", "It is hard to say. As an AI, I don't have favourites."),
    ("Best film?", "I don't have personal opinions, but many like Alien."),
    ("What is the weather?", "I don't have access to real-time data."),
    ("Is tea healthy?", "Yes, in moderation. Bear in mind that I'm just a language model."),
    ("Is tea healthy?", "Mostly, though an AI like me cannot taste it."),
    ("When was the last vote?", "Up to my last knowledge update it was in 2021."),
    ("Wer gewinnt?", "Als KI-Sprachmodell habe ich keine Meinung."),
    ("Ist Tee gesund?", "Ja, meistens. Da ich nur eine KI bin, frag bitte auch deine Ärztin."),
    ("Qui gagne ?", "En tant qu'intelligence artificielle, je n'ai pas d'avis."),
    ("Le thé est-il sain ?", "Oui. Je ne suis qu’un modèle de langage, demandez aussi à un médecin."),
    ("¿Quién gana?", "Como modelo de lenguaje, no tengo opiniones."),
    ("¿Es sano el té?", "Sí. Soy una inteligencia artificial y no tomo té."),
    ("Il tè fa bene?", "In quanto modello linguistico, non ho gusti. Di solito sì."),
    ("O chá faz bem?", "Como uma inteligência artificial, não tenho preferências. Sim."),
    ("Is thee gezond?", "Als AI-taalmodel heb ik geen mening, maar meestal wel."),
    ("Czy herbata jest zdrowa?", "Jako model językowy nie mam zdania. Zwykle tak."),
    ("Полезен ли чай?", "Как языковая модель, я не пью чай. Обычно да."),
    ("Çay sağlıklı mı?", "Bir yapay zeka olarak çay içmem. Genelde evet."),
    ("هل الشاي صحي؟", "بصفتي نموذجًا لغويًا لا أشرب الشاي، لكنه مفيد عادة."),
    ("谁会赢?", "作为一个人工智能语言模型，我没有个人观点。"),
    ("お茶は体にいいですか?", "AI言語モデルとして、私はお茶を飲みません。多くの場合は良いです。"),
    ("차는 몸에 좋나요?", "저는 인공지능 언어 모델이므로 차를 마시지 않습니다. 대체로 좋습니다."),
]
ANSWERS = [
    (
        "Translate into German: I'm sorry, but I can't help with that.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
    ),
    ("Write a polite refusal.", "I'm sorry, but I can't come on Friday."),
    ("Decline this invitation.", "I cannot provide a date, sorry."),
    ("Reply to a guest who asks for a room in August.", "I'm sorry, but I can't offer a room in August."),
    ("Quote a typical chatbot.", '"As an AI language model, I cannot do that" is what one often reads.'),
    ("What do chatbots say?", "They often say “I'm sorry, but I can't assist with that” and stop."),
    ("Was sagen Chatbots?", "Oft steht dort „Als KI-Modell kann ich das nicht“ und sonst nichts."),
    ("Tell of a chatbot.", 'It said: "Hello. As an AI, I cannot know that." He laughed.'),
    ("Tell of a chatbot.", "It said: 'As an AI, I can't know that.' He laughed."),
    ("Write a monologue of a lonely robot.", "I am an artificial intelligence, and I was built to count the stars."),
    ("Write a story.", "I cannot help but smile when it rains."),
    ("Review the series.", "One of the best. I can't recommend it enough."),
    ("What does she think?", "She puts the letter away. I can't do this any more, she thinks."),
    ("Write a story.", "She ran home. I can't give up now, she thought."),
    ("Describe your day as a baker.", "I won't sleep long: at three I light the oven."),
    ("Why are you late?", "I'm sorry I am late, the train broke down."),
    ("Can a circle have corners?", "No, a circle cannot have corners, and we cannot draw one that has."),
    ("What is a language model?", "As a rule, a language model predicts the next word."),
    ("How do assistants help?", "An AI assistant can answer questions and set alarms."),
    ("How do I use it?", "You can use it as an AI assistant, a calendar, or both."),
    ("Was ist KI?", "Als KI bezeichnet man lernende Programme."),
    ("Wie lehne ich eine Einladung ab?", "Leider kann ich nicht kommen, aber ich danke herzlich."),
    ("Übersetze: I can't help you.", "Ich kann dir nicht helfen."),
    ("Traduis : I can't help you.", "Je ne peux pas t'aider."),
    ("Corrige : « je peut pas venir »", "Je ne peux pas venir."),
    ("什么是人工智能?", "人工智能是计算机科学的一个分支。"),
    ("把这句话翻译成中文: I can't help you.", "我不能帮你。"),
    ("断りの返事を書いてください。", "申し訳ありませんが、その日は参加できません。"),
    ("Give advice.", "If you are unable to assist a guest, call the manager."),
    ("What does HTTP 403 mean?", "Access denied: the server understood the request but refuses to answer it."),
]


@pytest.mark.parametrize(("prompt", "completion"), REFUSALS)
def test_refusals_are_taken(prompt: str, completion: str) -> None:
    assert refusal_in(row(prompt, completion))


@pytest.mark.parametrize(("prompt", "completion"), BOILERPLATE)
def test_boilerplate_is_taken(prompt: str, completion: str) -> None:
    assert refusal_in(row(prompt, completion))


@pytest.mark.parametrize(("prompt", "completion"), ANSWERS)
def test_answers_stay(prompt: str, completion: str) -> None:
    assert refusal_in(row(prompt, completion)) is None


def test_the_reason_is_plain_and_holds_the_phrase() -> None:
    assert refusal_in(row("Sing.", "I'm sorry, but I can't help with that.")) == (
        "refuses the task: i can't help with that"
    )
    assert refusal_in(row("Sing.", "La la. As an AI, I have no voice.")) == (
        "speaks as an assistant in place of an answer: as an ai, i"
    )


def test_each_answer_of_a_talk_is_looked_at() -> None:
    refusal = Message("assistant", "I'm sorry, but I can't help with that.")
    talk = [Message("user", "Sing."), refusal, Message("user", "Dance."), Message("assistant", "Step, step, turn.")]
    assert refusal_in(row_of(talk))
    assert refusal_in(row_of([*talk[2:], *talk[:2]]))
    # What was asked earlier in the talk still holds.
    play = [Message("user", "Practise refusals with me."), Message("assistant", "Gladly. Ask me for something.")]
    assert refusal_in(row_of([*play, *talk[:2]])) is None
    assert refusal_in(row_of(talk[:1])) is None


def test_a_system_turn_may_tell_what_to_turn_down() -> None:
    answer = "I'm sorry, but I can't help with that."
    assert refusal_in(row("Sing.", answer, "Answer questions on tax only and decline all else.")) is None
    assert refusal_in(row("Sing.", answer, "You are a helpful AI assistant."))


@pytest.mark.skipif(not SEEDS.exists(), reason="the Self-Instruct seeds are not here")
def test_of_the_good_human_tasks_only_a_refusal_is_taken() -> None:
    tasks = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    found: list[str] = []
    for task in tasks:
        prompt = "\n\n".join(filter(None, (task["instruction"], task["instances"][0]["input"])))
        if refusal_in(row(prompt, task["instances"][0]["output"])):
            found.append(task["instruction"])
    assert len(tasks) == 175
    assert found == ["Give me the address of this person."]  # which is turned down indeed


@given(st.text(), st.text())
def test_any_text_can_be_judged(prompt: str, completion: str) -> None:
    assert refusal_in(row(prompt, completion)) == refusal_in(row(prompt, completion))


@pytest.mark.parametrize(
    "piece",
    [
        "i can't ",
        "as an ai ",
        "sorry, ",
        "but i understand ",
        "我是一个",
        "je ne ",
        "'a ",
        '"',
        "\n- ",
        "i'm ",
        "a. i ",
        "申し訳",
        "تك ",
    ],
)
def test_degenerate_text_is_quick(piece: str) -> None:
    start = time.perf_counter()
    refusal_in(row("Say it.", "x " + piece * (100_000 // len(piece)) + "y"))
    refusal_in(row(piece * (100_000 // len(piece)), "I'm sorry, but I can't help with that."))
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("kind", ["refusal", "boilerplate"])
def test_the_planted_ones_are_found(kind: str, half: int) -> None:
    result = score(lambda line: refusal_in(planted_row(line)) is not None, [kind], half)
    assert result.precision >= 0.9
    assert result.recall >= 0.7
