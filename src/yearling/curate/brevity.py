"""Answers of a word or two where a text, a list or reasons were asked for.

In: an answer, its prompt, and all that was asked. Out: the reason against it in plain words, or None.
A word that answers stays: a choice, a yes, a number, a class, a name. Does not weigh longer texts.
"""

from __future__ import annotations

import re
import unicodedata

from yearling.measure.text import word_count

BRIEF = re.compile(
    r"\b(?:in|with|using) (?:just |only |exactly )?(?:an?|one|two|three|\d|a single|a few) (?:\w+ )?(?:words?|letters?"
    r"|numbers?|names?|digits?)\b|(?:one|single|two|three)[- ]words?\b|one[- ]letter|yes or no|yes/no|true or false"
    r"|\b(?:just|only) (?:the|a|one|with|yes|say|give)|(?:answer|reply|respond) (?:with|only|just|either)|\bchoose"
    r"|\bpick\b|\bselect\b|classif|categor|\blabel|sentiment|\bwhich (?:of|one)|multiple.choice|abbreviat|acronym"
    r"|\bspell|\btranslat|fill in|\bcomplete\b|\bsynonym|\bantonym|nothing else|no explanation|keep it short"
    r"|\b(?:tell me|say|decide|determine|check|find out|see) (?:if|whether|which|what|who)\b|\bguess|\bidentif"
    r"|\bname of|word for|new word|a word\b|\b(?:what|which) (?:film|movie|word|emotion|mood|tone|language|genre"
    r"|colou?r|day|year|country|city|animal)\b|^\s*\(?[A-Da-d][.)]\s|briefest|as short as|(?:einem|zwei|drei) w[oö]rt"
    r"|ein wort|\bnur\b|ja oder nein|wähle|klassifi|übersetz|ordne|un seul mot|en un mot|(?:deux|trois) mots"
    r"|oui ou non|uniquement|choisis|class(?:e|ez)\b|tradui|una (?:sola )?palabra|(?:dos|tres) palabras|sí o no"
    r"|únicamente|s[oó]lo\b|elige|clasific|traduc|una (?:sola )?parola|sì o no|soltanto|scegli|traduci|uma (?:só "
    r"|única )?palavra|sim ou não|apenas|escolha|één woord|ja of nee|alleen|kies|vertaal|jednym słow|tak czy nie"
    r"|tylko|wybierz|przetłumacz|одним словом|да или нет|только|выбери|переведи|一个词|一个字|一句|是或否|是否"
    r"|只(?:回答|写|给|用|说)|选择|翻译|一言|単語|はい|だけ|選ん|選び|訳|한 단어|만 (?:답|말|써)|번역|고르",
    re.IGNORECASE | re.MULTILINE,
)
_TEXTS = (
    r"(?:story|stories|tale|fable|essay|poem|letter|e-?mail|paragraphs?|article|review|speech|report|(?:blog )?post"
    r"|summary|description|dialogue|dialog|conversation|lyrics|song|script|introduction|instructions|guide|tutorial"
    r"|biography|plan|proposal|outline|recipe|(?:two|three|four|five|six|\d) (?:\w+ )?sentences|text|itinerary"
    r"|overview|argument|explanation|reasons|tips|scene|diary entry|memo|announcement|obituary|toast|invitation"
    r"|complaint|cover letter|analysis|comparison|list|function|class|program|query)\b"
)
_MANY = (
    r"(?:some|several|a few|many|two|three|four|five|six|seven|eight|nine|ten|\d+|all(?: the)?"
    r"|the (?:main|steps|reasons|causes|advantages|benefits|differences|most))"
)
_ASK = r"(?:^|[.!?:;,\n][\s\"']*|\b(?:please|kindly|you|and|to|then|also|me|now|let's) )"
ASKS_FOR_TEXT = re.compile(
    rf"{_ASK}(?:write|compose|draft|create|tell|prepare|produce|generate|give|make|provide|pen|invent|develop"
    rf"|implement)\b[^.?!\n]{{0,60}}?\b{_TEXTS}",
    re.IGNORECASE,
)
ASKS_FOR_MORE = re.compile(
    rf"{_ASK}(?:explain|describe|discuss|elaborate|compare|contrast|summari[sz]e|analy[sz]e|justify|outline|narrate"
    rf"|illustrate|argue|walk me through"
    r"|talk about|tell me (?:more |something |a bit )?about|brainstorm|list)\b"
    rf"|{_ASK}(?:name|give|suggest|provide|recommend|mention|share|propose|find|think of|come up with|offer|what are"
    rf"|tell)\b(?: me| us)? {_MANY}\b"
    rf"|{_ASK}(?:why|what (?:are the|causes|happens|would happen|should i|can i)|how (?:do(?:es)?|can|should|did|would"
    rf"|to|is|are|come))\b"
    r"|step[- ]by[- ]step|in detail|pros and cons|\b(?:reasons?|arguments?|tips|ideas|ways|steps|suggestions) (?:for"
    r"|to|why|how|that|on|of|against)\b"
    # German, French, Spanish
    r"|\berklär|beschreib|erzähl|schildere|begründe|vergleich|fasse|zähle|liste|warum\b|wieso\b|weshalb\b"
    r"|\bnenn\w* (?:mir )?(?:drei|vier|fünf|sechs|zehn|einige|\d|die)|gründe|tipps|\b(?:schreib"
    r"|verfass)\w*\b[^.?!\n]{0,60}(?:geschichte|aufsatz|gedicht|brief|mail|absatz|text|artikel|bericht|rede|märchen"
    r"|beschreibung|einladung|sätze)|\bwie (?:kann|funktioniert|entsteh|mach|geht|bereite|pflege)|\bexplique|décri"
    r"|racont|énumèr|résum|compare|pourquoi|\b(?:cite|donne|nomme|propose)\w* (?:-?moi )?(?:deux|trois|quatre|cinq|dix"
    r"|\d|quelques|des|les)|raisons|conseils|\b(?:écri|rédige|compose)\w*\b[^.?!\n]{0,60}(?:histoire|conte"
    r"|dissertation|poème|lettre|mail|paragraphe|texte|article|discours|rapport|phrases|invitation)|\bcomment (?:faire"
    r"|fonctionne|puis|peut|on|se)|\bexpli[cq]|describ|describe|cuenta|cuénta|enumera|resum|por qué|\b(?:nombra|da"
    r"|dame|menciona|propón|sugiere)\w* (?:dos|tres|cuatro|cinco|diez|\d|algun|las|los)|razones|consejos|\b(?:escrib"
    r"|redact|compon)\w*\b[^.?!\n]{0,60}(?:cuento|historia|ensayo|poema|carta|correo|párrafo|texto|artículo|discurso"
    r"|informe|frases|invitación)|\bcómo (?:se|puedo|funciona|hago|hacer)"
    # Italian, Portuguese, Dutch, Polish, Swedish, Turkish
    r"|\bspiega|descrivi|racconta|elenca|riassumi|perché|motivi|consigli|\bscriv\w*\b[^.?!\n]{0,60}(?:storia|tema"
    r"|poesia|lettera|mail|paragrafo|testo|articolo|discorso|frasi)|\bcome (?:si|posso|funziona)|descrev|\bcont[ea]\b"
    r"|\bliste\b|\bpor que\b|motivos|dicas|\b(?:escrev|redij)\w*\b[^.?!\n]{0,60}(?:história|conto|redação|poema|carta"
    r"|mail|parágrafo|texto|artigo|discurso|frases)|\bcomo (?:se|posso|funciona|fazer)|\bleg\b[^.?!\n]{0,60}\buit\b"
    r"|beschrijf|vertel|waarom|vat\b[^.?!\n]{0,60}samen|\bnoem (?:drie|vier|vijf|tien|\d|enkele)|redenen"
    r"|schrijf\b[^.?!\n]{0,60}(?:verhaal|brief|gedicht|mail|alinea|tekst|artikel|zinnen)|\bhoe (?:kan|werkt|maak|moet)"
    r"|wyjaśnij|opisz|opowiedz|wymień|streść|dlaczego|podaj (?:trzy|cztery|pięć|\d|kilka)"
    r"|napisz\b[^.?!\n]{0,60}(?:opowiadan|list|wiersz|mail|akapit|tekst|zda)|\bjak (?:zrobić|działa|mogę|można)"
    r"|förklara|beskriv|berätta|varför|açıkla|anlat|neden|yaz\b"
    # Russian, Ukrainian, Arabic, Hindi, Chinese, Japanese, Korean
    r"|объясни|опиши|расскажи|перечисли|почему|зачем|сравни|назови(?:те)? (?:три|четыре|пять|\d|нескольк|основн)"
    r"|причин|напиши[^.?!\n]{0,60}(?:рассказ|сказк|сочинен|письмо|стих|текст|абзац|стать|эссе|предложен)"
    r"|\bкак (?:сделать|работает|можно|мне)|поясни|розкажи|чому|اشرح|صف |لماذا|اذكر|اكتب|كيف|समझा|वर्णन|क्यों|बताइ"
    r"|लिख|कैसे|解释|描述|介绍|说明|讲述|为什么|列出|列举|比较|总结|如何|怎么|怎样|写(?:一|两|三|篇|封|首|段|个)"
    r"|讲(?:一|个)|原因|理由|建议|步骤|説明|書いて|なぜ|どうして|挙げ|教えて|紹介|述べ|比較|要約|どうやって|설명"
    r"|써 ?줘|쓰세요|왜|나열|소개|묘사|비교|요약|어떻게|알려",
    re.IGNORECASE,
)
SAYING = re.compile(
    r"how (?:do|would|can|should|to|is|are)\b[^.?!\n]{0,30}\b(?:say|spell|pronounce|write|written|called|abbreviate"
    r"|old|many|much|far|long|tall)\b|wie (?:sagt|heißt|schreibt|viel|alt)|comment (?:dit|écrit)|cómo se (?:dice"
    r"|escribe|llama)",
    re.IGNORECASE,
)
SIGNS = " .,!?…'’-。！？、，\n"
LIST_MARK = re.compile(r"\d{1,2}[.):]|[-*•#]+|#+ *\d*")
LONGEST = 500  # characters of a prompt; longer ones hold material, of which a word may well be asked
ITEMS = re.compile(r"[,\n、，]|\b(?:and|und|et|y|e|en|и)\b")


def too_short(completion: str, prompt: str, asked: str) -> str | None:
    """The reason why one to three words are no answer to what was asked, or None."""
    if len(completion) > 60 or len(prompt) > LONGEST:
        return None
    text = completion.strip()
    if LIST_MARK.fullmatch(text) and (ASKS_FOR_MORE.search(prompt) or ASKS_FOR_TEXT.search(prompt)):
        return f"has too few words for what was asked: {text}"
    # Digits, signs and code say much in little, and so do capitals.
    plain = all(c.isalpha() or c in SIGNS or unicodedata.category(c)[0] == "M" for c in text)
    if word_count(text) > 3 or not plain or (text.isupper() and len(text) < 6):
        return None
    if BRIEF.search(asked) or SAYING.search(prompt):
        return None
    listed = ITEMS.search(text.strip(SIGNS))  # two things named are a list, though no letter or story
    if ASKS_FOR_TEXT.search(prompt) or (not listed and ASKS_FOR_MORE.search(prompt)):
        return f"has too few words for what was asked: {text}"
    return None
