"""The openai library: every call it makes, and the exception it raises for every failure."""

import base64
import json
import time

import openai
from cases import PICTURE, raises, run, setting
from pydantic import BaseModel

CHAT = setting("CHAT")
EMBEDDING, WIDTH = setting("EMBEDDING").split(":")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]


class City(BaseModel):
    name: str
    people: int
    districts: list[str]


def client(key="OPENAI_KEY", **options):
    return openai.OpenAI(base_url=setting("OPENAI_BASE"), api_key=setting(key), **{"max_retries": 0, **options})


def ask(text="Hello", model=CHAT, **options):
    own = options.pop("client", None) or client()
    return own.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def chat():
    answer = ask("Hello, world")
    choice = answer.choices[0]
    assert "Hello, world" in choice.message.content and choice.finish_reason == "stop", answer
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")


def chat_is_cut_at_its_limit():
    answer = ask(max_completion_tokens=9)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens <= 9, answer


def stream():
    chunks = list(ask("Hello, world", stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Hello, world" in text and len(chunks) > 3, chunks
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices


def tools():
    first = ask("weather in Rome", tools=TOOLS)
    assert first.choices[0].finish_reason == "tool_calls", first
    call = first.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments)
    messages = [
        {"role": "user", "content": "weather in Rome"},
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "blue sky"},
    ]
    second = client().chat.completions.create(model=CHAT, messages=messages, tools=TOOLS)
    assert "blue sky" in second.choices[0].message.content, second


def tools_in_a_stream():
    calls = {}
    for chunk in ask("weather in Rome", tools=TOOLS, stream=True):
        for call in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
            own = calls.setdefault(call.index, {"name": "", "arguments": "", "id": ""})
            own["id"] += call.id or ""
            own["name"] += call.function.name or ""
            own["arguments"] += call.function.arguments or ""
    assert calls[0]["name"] == "weather" and calls[0]["id"] and "city" in json.loads(calls[0]["arguments"]), calls


def tool_choice():
    answer = ask("Hello", tools=TOOLS, tool_choice="none")
    assert not answer.choices[0].message.tool_calls
    answer = ask("Hello", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}})
    assert answer.choices[0].message.tool_calls


def json_schema():
    answer = client().chat.completions.parse(
        model=CHAT, messages=[{"role": "user", "content": "a city"}], response_format=City
    )
    city = answer.choices[0].message.parsed
    assert isinstance(city, City) and city.districts, answer


def json_object():
    json.loads(ask("in JSON", response_format={"type": "json_object"}).choices[0].message.content)


def picture():
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
    ]
    answer = client().chat.completions.create(model=CHAT, messages=[{"role": "user", "content": content}])
    assert f"image/png, {len(base64.b64decode(PICTURE))} bytes" in answer.choices[0].message.content, answer
    assert answer.usage.prompt_tokens > 258


def embeddings():
    answer = client().embeddings.create(model=EMBEDDING, input=["one", "two"])
    assert [len(one.embedding) for one in answer.data] == [int(WIDTH)] * 2
    short = client().embeddings.create(model=EMBEDDING, input="one", dimensions=8)
    assert len(short.data[0].embedding) == 8 and isinstance(short.data[0].embedding[0], float)
    plain = client().embeddings.create(
        model=EMBEDDING, input="one", dimensions=8, encoding_format="float"
    )
    same = zip(plain.data[0].embedding, short.data[0].embedding)
    assert all(abs(one - other) < 1e-6 for one, other in same)


def models():
    assert CHAT in [model.id for model in client().models.list()]
    assert client().models.retrieve(CHAT).id == CHAT


def responses():
    answer = client().responses.create(model=CHAT, input="Hello, world")
    assert "Hello, world" in answer.output_text and answer.status == "completed", answer
    kinds = [event.type for event in client().responses.create(model=CHAT, input="Hello", stream=True)]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds


def errors():
    cases = [
        (openai.AuthenticationError, 401, lambda: ask(client=client("UNKNOWN_KEY"))),
        (openai.NotFoundError, 404, lambda: ask(model="nothing-of-that-name")),
        (openai.BadRequestError, 400, lambda: client().chat.completions.create(model=CHAT, messages=[])),
        (openai.RateLimitError, 429, lambda: ask(model="gpt-limited")),
        (openai.InternalServerError, 503, lambda: ask(model="gpt-overloaded")),
        (openai.InternalServerError, 500, lambda: ask(model="gpt-failing")),
        (openai.InternalServerError, 503, lambda: ask(model="gpt-overloaded", stream=True)),
    ]
    for kind, status, call in cases:
        error = raises(kind, call)
        assert error.status_code == status and error.message, error
    limited = raises(openai.RateLimitError, lambda: ask(model="gpt-limited"))
    assert limited.response.headers["retry-after"] == "7" and limited.code == "rate_limit_exceeded", limited.body
    spent = raises(openai.RateLimitError, lambda: ask(client=client("SPENT_KEY")))
    assert spent.code == "insufficient_quota", spent.body


def streams_that_break():
    raises(openai.APIError, lambda: list(ask(model="gpt-broken", stream=True)))
    raises(openai.APIConnectionError, lambda: list(ask(model="gpt-cut", stream=True)))


def retry_hints_are_obeyed():
    began = time.monotonic()
    answer = ask(model="gpt-patient", client=client(max_retries=1))
    assert answer.choices and time.monotonic() - began >= 1.9, "it was told to wait for two seconds"


def gemini_in_openais_words():
    own = openai.OpenAI(base_url=setting("COMPAT_BASE"), api_key=setting("GOOGLE_KEY"), max_retries=0)
    answer = ask("Hello", model="gemini-2.5-flash", client=own)
    assert "Hello" in answer.choices[0].message.content
    assert answer.usage.total_tokens > answer.usage.prompt_tokens + answer.usage.completion_tokens, "thoughts"
    text = "".join(c.choices[0].delta.content or "" for c in ask(model="gemini-2.5-flash", client=own, stream=True))
    assert "Hello" in text
    assert "models/gemini-2.5-flash" in [model.id for model in own.models.list()]
    vector = own.embeddings.create(model="gemini-embedding-001", input="one").data[0].embedding
    assert len(vector) == 3072
    error = raises(openai.InternalServerError, lambda: ask(model="gemini-overloaded", client=own))
    assert isinstance(error.body, list) and error.status_code == 503, "an array, as Google has it"


def mistral_in_openais_words():
    own = client("MISTRAL_KEY")
    answer = ask("weather in Rome", model="mistral-large-latest", client=own, tools=TOOLS)
    assert len(answer.choices[0].message.tool_calls[0].id) == 9
    assert ask("Hello", model="mistral-large-latest", client=own).choices[0].message.content


def refusals_of_the_proxy():
    cases = [
        (openai.AuthenticationError, 401, lambda: ask(client=client("UNKNOWN_KEY"))),
        (openai.NotFoundError, 404, lambda: ask(model="nothing-of-that-name")),
        (openai.BadRequestError, 400, lambda: client().chat.completions.create(model=CHAT, messages=[])),
        (openai.InternalServerError, 503, lambda: ask(model="gpt-overloaded")),
        (openai.InternalServerError, 503, lambda: ask(model="gpt-failing")),
        (openai.InternalServerError, 503, lambda: ask(model="gemini-overloaded", stream=True)),
    ]
    for kind, status, call in cases:
        error = raises(kind, call)
        # Whether the tries or the time are used up first hangs on the machine.
        assert error.status_code in (status, 504 if status == 503 else status) and error.message, error


def hints_of_the_proxy_are_obeyed():
    hurried = {"x-stormproof-deadline": "1s"}
    refused = raises(openai.InternalServerError, lambda: ask(model="gpt-limited", extra_headers=hurried))
    assert 5 <= int(refused.response.headers["retry-after"]) <= 8, refused.response.headers
    assert "o-limited: 0 of 2 usable" in refused.message, refused.message
    began = time.monotonic()
    answer = ask(model="gpt-patient", client=client(max_retries=3), extra_headers=hurried)
    assert answer.choices and time.monotonic() - began >= 1.5, "it was told to wait for two seconds"
    # Whose time is over is told not to come again, and does not.
    stubborn = client(max_retries=2)
    late = raises(
        openai.InternalServerError, lambda: ask(model="gpt-silent", client=stubborn, extra_headers=hurried)
    )
    assert late.response.headers["x-should-retry"] == "false", late.response.headers
    assert late.response.request.headers["x-stainless-retry-count"] == "0", "it came once"


def main():
    common = [
        chat, chat_is_cut_at_its_limit, stream, tools, tools_in_a_stream, tool_choice, json_schema, json_object,
        picture, embeddings, models, responses,
    ]  # fmt: skip
    alone = [errors, streams_that_break, retry_hints_are_obeyed, gemini_in_openais_words, mistral_in_openais_words]
    proxied = [refusals_of_the_proxy, hints_of_the_proxy_are_obeyed, streams_that_break_through_the_proxy]
    run(common + {"mock": alone, "serve": proxied, "translated": []}[setting("MODE")])


def streams_that_break_through_the_proxy():
    for model in ("gpt-broken", "gpt-cut", "gemini-broken", "gemini-cut"):
        raises(openai.APIError, lambda model=model: list(ask(model=model, stream=True)))


main()
