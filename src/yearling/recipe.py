"""Every knob, once: flags, YAML keys, help, JSON schema and docs/knobs.md derive from these models.

In: plain values. Out: a frozen Recipe. Files, overrides and messages are recipe_file's.
Does not look at the machine: what depends on hardware or data is derived, and frozen, by the stages.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from yearling.recipe_azure import NAME, AnyPath, Cloud, Elsewhere, Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0)]
Quant = Literal["f16", "q8_0", "q4_k_m"]
Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]


class Price(Section):
    """What the teacher's endpoint charges."""

    input: float = Field(ge=0, description="US dollars per million prompt tokens")
    output: float = Field(ge=0, description="US dollars per million completion tokens, hidden reasoning included")


class Reasoning(Section):
    """A teacher that thinks before it answers."""

    effort: Literal["minimal", "low", "medium", "high"] | None = Field(None, description="how much the teacher thinks")
    max_tokens: int = Field(4096, ge=0, description="hidden tokens allowed beyond an answer's own limit")
    keep: bool = Field(False, description="keep <think> text in the answer instead of stripping it")


class Azure(Section):
    """How Azure OpenAI is reached."""

    identity: Literal["key", "entra"] | None = Field(
        None, description="key, or Entra identity; unset takes what is set"
    )
    client_id: str | None = Field(None, description="client id of a user-assigned managed identity")
    scope: str = Field("https://cognitiveservices.azure.com/.default", description="audience of the Entra token")


class Local(Section):
    """What only a teacher on this machine knows."""

    context: int = Field(2048, ge=256, description="tokens of context for one call")
    min_p: float = Field(0.05, ge=0, le=1, description="minimum probability relative to the best token")


class Teacher(Section):
    """The bigger model that writes the data."""

    model: str = Field(
        description="openai:<model>, azure:<deployment>, gemini:<model>, anthropic:<model>, ollama:<model>, "
        "vllm:<model>, local:<file.gguf | hf repo/file.gguf | shipped:name>, or replay:<ledger.sqlite>"
    )
    base_url: str | None = Field(
        None, description="the endpoint's address, as given: nothing is put between it and the route"
    )
    api_key_env: str | None = Field(
        None, description="environment variable that holds the key; unset, the provider's own"
    )
    price: Price | None = Field(None, description="without it the cost is unknown (a local teacher costs nothing)")
    template: AnyPath | None = Field(
        None, description="the teacher's chat template, where only raw completion is served"
    )
    concurrency: int = Field(8, ge=1, le=256, description="most calls in flight at once; fewer where the endpoint asks")
    timeout_s: float = Field(300.0, gt=0, description="seconds after which a call is given up (never for local:)")
    reasoning: Reasoning = Field(default_factory=lambda: Reasoning(), description="for teachers that think first")
    batch: bool = Field(False, description="use the provider's batch API: half the price, hours of waiting")
    structured: bool = Field(
        True, description="ask for JSON by schema where a method reads lists; false reads plain text"
    )
    local: Local = Field(default_factory=lambda: Local(), description="for local: teachers")
    azure: Azure = Field(default_factory=lambda: Azure(), description="for azure: teachers")


class Budget(Section):
    """Caps that bind: reserved before each call, settled after it."""

    max_cost_usd: float | None = Field(None, ge=0, description="stop before this many US dollars")
    max_tokens: int | None = Field(None, ge=1, description="stop before this many teacher tokens")
    max_minutes: float | None = Field(None, gt=0, description="ask no more after this many minutes of asking")
    hour_usd: float | None = Field(None, ge=0, description="what an hour of all training machines costs, for estimate")
    share: dict[Literal["generate", "curate", "eval"], Share] = Field(
        default_factory=dict, description="largest share of each cap for a stage, as {generate: 0.8, eval: 0.2}"
    )


class Answers(Section):
    """How the teacher answers an instruction."""

    system: str | None = Field(None, description="system turn under which the teacher answers; not kept in the record")
    max_tokens: int = Field(512, ge=8, description="limit of an answer; an unfinished one is rejected, never cut")
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature of answers")
    turns: int = Field(1, ge=1, le=16, description="user turns of a conversation (magpie, evolve)")


class Alpaca(Section):
    """Alpaca's way (Taori et al. 2023): seed tasks as demonstrations, several new tasks in one call."""

    per_call: int = Field(8, ge=1, le=20, description="new tasks asked of one call")
    demonstrations: int = Field(3, ge=1, le=16, description="seed tasks shown in one call")
    together: bool = Field(False, description="the same call writes the answers too, as in the source")


class SelfInstruct(Section):
    """Self-Instruct (Wang et al. 2022): instructions, a classification test, then instances."""

    human: int = Field(6, ge=1, le=16, description="seed instructions shown in one call")
    machine: int = Field(2, ge=0, le=16, description="accepted machine-written instructions shown beside them")
    per_call: int = Field(7, ge=1, le=20, description="new instructions asked of one call")
    instances: int = Field(1, ge=1, le=5, description="most instances kept of an instruction (the source keeps 5)")
    completion: bool = Field(
        False, description="raw completion prompts as in the source, for base models served with completion"
    )


class Evolve(Section):
    """Evol-Instruct (Xu et al. 2023): instructions rewritten to be harder, or to be others of their kind."""

    rounds: int = Field(4, ge=1, le=10, description="generations; each evolves what the one before kept")
    keep_start: bool = Field(True, description="the starting instructions become rows too")


class Documents(Section):
    """Question and answer pairs grounded in documents of your own."""

    path: AnyPath = Field(description="a txt, md, html, pdf or docx file, or a folder of them")
    words: int = Field(250, ge=40, le=2000, description="words of a passage")
    pairs: int = Field(3, ge=1, le=10, description="pairs asked for each passage")
    with_passage: bool = Field(
        False, description="put the passage into the prompt, so that the student reads and answers"
    )


class Variety(Section):
    """What makes instructions differ beyond chance; drawn anew for each call."""

    personas: AnyPath | None = Field(None, description="people who ask, one a line")
    attributes: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="lists to draw one value each from, as {tone: [formal, casual]}"
    )
    systems: AnyPath | None = Field(None, description="system turns for rows, one a line; kept in the record")
    prompts: AnyPath | None = Field(None, description="folder of your own prompt files, each replacing a shipped one")


Method = Literal["magpie", "alpaca", "self-instruct", "evolve", "documents", "answer"]


class Generate(Section):
    """Birth: the teacher writes instructions and answers them."""

    method: Method = Field("alpaca", description="how instructions are made; answer takes those of `import`")
    num: int = Field(1000, ge=1, description="rows wanted; raised later it tops up, nothing is made again")
    seeds: AnyPath | None = Field(None, description="seed tasks as JSONL; without it the shipped ones")
    temperature: float = Field(1.0, ge=0, le=2, description="sampling temperature of instructions")
    attempts: float = Field(8.0, ge=1, description="give up after this many attempts for each row wanted")
    seed: int = Field(42, description="seed of the plan: call k asks the same on every run")
    answer: Answers = Field(default_factory=lambda: Answers(), description="how the teacher answers")
    variety: Variety = Field(default_factory=lambda: Variety(), description="personas, attributes, system turns")
    alpaca: Alpaca = Field(default_factory=lambda: Alpaca(), description="for method alpaca")
    self_instruct: SelfInstruct = Field(default_factory=lambda: SelfInstruct(), description="for method self-instruct")
    evolve: Evolve = Field(default_factory=lambda: Evolve(), description="for method evolve")
    documents: Documents | None = Field(None, description="for method documents")


class Source(Section):
    """One data set to import."""

    path: AnyPath = Field(
        description="a file, a folder of files of one format, hf:org/name, az://account/container/path, or a run "
        "folder (its accepted records)"
    )
    format: Literal[
        "auto",
        "alpaca",
        "sharegpt",
        "messages",
        "prompt-completion",
        "csv",
        "parquet",
        "stackexchange",
        "oig",
        "p3",
        "run",
    ] = Field("auto", description="auto looks at the rows and says what it decided and why")
    licence: str = Field("unknown", description="licence of the data, kept with each record")
    azure: Cloud = Field(default_factory=lambda: Cloud(), description="who asks Azure for this path")
    answer: bool = Field(
        False, description="take the prompts only: the teacher answers them (`generate: {method: answer}`)"
    )


class Length(Section):
    """The length judge, in words."""

    min_prompt: int = Field(2, ge=0, description="fewest words of a prompt")
    max_prompt: int = Field(400, ge=1, description="most words of a prompt")
    min_completion: int = Field(1, ge=0, description="fewest words of a completion")
    max_completion: int = Field(800, ge=1, description="most words of a completion")


class Near(Section):
    """The judge of near duplicates."""

    above: Share | None = Field(
        0.6, description="reject what shares this much (Jaccard, word pairs) with an earlier row; null switches off"
    )
    on: Literal["both", "prompt", "answer"] = Field("both", description="what must be alike")


class Semantic(Section):
    """What is alike in meaning, not in words: paraphrases, leaked questions; and what is like nothing else."""

    above: Share | None = Field(None, description="reject above this cosine to an earlier row; null switches off")
    exam: Share | None = Field(
        None, description="reject a prompt above this cosine to a question of an exam; null switches off"
    )
    outlier: Share | None = Field(
        None, description="reject below this mean cosine to the nearest of a sample of rows; null switches off"
    )
    model: str = Field(
        "static", description="static and multilingual need no network, any other is a sentence-transformers model"
    )


class Scoring(Section):
    """The teacher's marks for the rows that passed all other judges."""

    min_score: int = Field(4, ge=1, le=5, description="lowest mark that passes, of 5")
    rubric: AnyPath | None = Field(None, description="a prompt file of your own, in place of the shipped rubric")


JudgeName = Literal[
    "shape", "length", "refusal", "language", "reach", "personal", "toxic", "exact", "contamination", "contradiction"
]


class Curate(Section):
    """Judgement: each judge leaves a verdict on each record, nothing is deleted."""

    off: tuple[JudgeName, ...] = Field((), description="judges that keep silent, as [refusal, toxic]")
    length: Length = Field(default_factory=lambda: Length(), description="limits of the length judge")
    language: Literal["same", "recipe"] = Field(
        "same", description="same: answers in the prompt's language; recipe: and both in the recipe's"
    )
    personal: Literal["fail", "mask"] = Field(
        "fail", description="rows with personal data or secrets fail, or stay with those masked"
    )
    toxic: Literal["lexicon", "teacher"] = Field(
        "lexicon",
        description="lexicon: by shipped expressions; teacher: and the teacher marks what is left for decency",
    )
    near: Near = Field(default_factory=lambda: Near(), description="near duplicates")
    semantic: Semantic = Field(default_factory=lambda: Semantic(), description="paraphrases")
    novelty: Share | None = Field(
        0.7, description="reject above this ROUGE-L F to an earlier prompt; null switches off"
    )
    decontaminate: tuple[AnyPath, ...] = Field(
        (), description="files with test questions; what holds one fails (the test split's always count)"
    )
    judge: Scoring | None = Field(None, description="let the teacher mark what is left, as {min_score: 4}")
    select: int | None = Field(None, ge=1, description="of what is left keep this many rows that cover the most")
    test: Share = Field(0.1, description="share of prompts held out for eval, chosen by hash")


class Student(Section):
    """The small model that learns."""

    base: str = Field(description="hub name, folder, file.gguf, or shipped:name")
    template: str | None = Field(None, description="a shipped template (plain, alpaca, chatml) or a .jinja file")
    max_seq_length: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="auto holds the longest row; of a number, longer rows are left out, up to 1 % of all"
    )


class Lora(Section):
    """Low-rank adapter (Hu et al. 2021)."""

    r: int = Field(16, ge=1, le=1024, description="rank")
    alpha: int = Field(32, ge=1, description="scale numerator")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    targets: Literal["all-linear", "attention"] = Field("all-linear", description="layers that get an adapter")
    rslora: bool = Field(False, description="scale by the root of the rank (Kalajdzievski 2023): for high ranks")
    dora: bool = Field(False, description="length and direction of weights apart (Liu et al. 2024); slower")
    start: AnyPath | None = Field(None, description="folder of an adapter to go on from, for the same base")


class Train(Section):
    """School: the student learns the accepted rows of the train split."""

    method: Literal["lora", "qlora", "full"] = Field(
        "lora", description="tune an adapter, an adapter on a base of 4 bits (Dettmers et al. 2023), or all weights"
    )
    lora: Lora = Field(default_factory=lambda: Lora(), description="adapter settings")
    epochs: Positive | Literal["auto"] = Field(
        "auto", description="passes over the data; auto is 2, or 1 where the split is too small for rows to be watched"
    )
    learning_rate: Positive | Literal["auto"] = Field(
        "auto", description="peak learning rate; auto follows from the method and from how wide the base is"
    )
    batch_size: int = Field(4, ge=1, description="rows of an update, on all devices; memory decides how it is cut")
    warmup: Share = Field(0.05, description="share of the steps that warm the learning rate up")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="what an adapter's base is loaded as; auto is bfloat16 where the machine is faster in it"
    )
    watch: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="share of the train split, 64 rows at most, that is watched and not learnt: the weights with the "
        "lowest loss on it are kept; a split under 200 rows is learnt whole",
    )
    save_every: int = Field(10, ge=1, description="updates between checkpoints")
    track: tuple[Tracker, ...] = Field((), description="who hears of each update beside the run's own log")
    seed: int = Field(42, description="order of the rows and start of the adapter")


class Export(Section):
    """Press: the adapter is merged and written as files that run anywhere."""

    quant: tuple[Quant, ...] = Field(("f16", "q4_k_m"), description="GGUF files to write")
    ollama: bool = Field(True, description="write an Ollama Modelfile beside the GGUF")
    parity_rows: int = Field(
        24, ge=1, description="rows, held-out ones first, on which files and merged model are compared"
    )


class Eval(Section):
    """Exam: base, student and teacher answer held-out prompts."""

    against: Literal["teacher", "none"] = Field("teacher", description="whom the student is compared with")
    on: tuple[Literal["merged", "q8_0", "q4_k_m"], ...] = Field(
        ("merged", "q4_k_m"), description="student files to ask"
    )
    max_rows: int = Field(200, ge=1, description="held-out rows asked, the first by hash")
    max_tokens: int = Field(256, ge=1, description="limit of an answer; a longer one did not stop by itself")
    questions: tuple[str, ...] = Field((), description="questions of your own, answered side by side in the report")


WHERE = r"^(local|ray(:[A-Za-z0-9_.-]+:[0-9]+)?)$"
BRANCHES = ("a word", "a section")  # what pydantic calls the two forms of `run_on`
RunOn = Annotated[
    Annotated[str, Field(pattern=WHERE), Tag(BRANCHES[0])] | Annotated[Elsewhere, Tag(BRANCHES[1])],
    Discriminator(lambda given: BRANCHES[isinstance(given, dict | Elsewhere)]),
]


class Recipe(Section):
    """One run from teacher to file; a missing stage is skipped."""

    name: str = Field(pattern=NAME, description="name of the run folder")
    language: str = Field("en", min_length=2, max_length=35, description="BCP 47 tag of the language to write in")
    teacher: Teacher | None = Field(None, description="needed by generate, and by eval against the teacher")
    budget: Budget = Field(default_factory=lambda: Budget(), description="caps on what the teacher may cost")
    generate: Generate | None = None
    import_: tuple[Source, ...] = Field((), alias="import", description="data sets to bring in")
    curate: Curate | None = None
    student: Student | None = Field(None, description="needed by train, export and eval")
    train: Train | None = None
    export: Export | None = None
    eval: Eval | None = None
    run_on: RunOn = Field(
        "local",
        description="local; ray or ray:host:port, where curate runs on a cluster; or azureml, where `run` does",
    )

    @property
    def ray_address(self) -> str | None:
        """The Ray cluster that curate runs on, "auto" for the one of this machine; None where it runs here."""
        if self.run_on == "local" or isinstance(self.run_on, Elsewhere):
            return None
        return self.run_on.removeprefix("ray").removeprefix(":") or "auto"
