"""The google-genai library: every call it makes, and the exception it raises for every failure."""

import base64
import functools

from cases import PICTURE, raises, run, setting
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

CHAT = setting("GOOGLE_CHAT")


class City(BaseModel):
    name: str
    people: int
    districts: list[str]


@functools.cache  # a client that nobody holds any more closes, whoever still uses its `models`
def client(key="GOOGLE_KEY", hurried=False, **options):
    if hurried:
        options["headers"] = {"x-stormproof-deadline": "1s"}
    return genai.Client(
        api_key=setting(key), http_options=types.HttpOptions(base_url=setting("GOOGLE_BASE"), **options)
    )


def ask(text="Hello", model=CHAT, own=None, **config):
    return (own or client()).models.generate_content(
        model=model, contents=text, config=types.GenerateContentConfig(**config)
    )


def ask_stream(text="Hello", model=CHAT, **config):
    config = types.GenerateContentConfig(**config)
    return list(client().models.generate_content_stream(model=model, contents=text, config=config))


def weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"blue sky over {city}"


DECLARED = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a city",
            parameters=types.Schema(
                type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]
            ),
        )
    ]
)


def generate():
    answer = ask("Hello, world")
    assert "Hello, world" in answer.text and answer.candidates[0].finish_reason == types.FinishReason.STOP
    counts = answer.usage_metadata
    total = counts.prompt_token_count + counts.candidates_token_count + (counts.thoughts_token_count or 0)
    assert counts.total_token_count == total and answer.model_version == CHAT and answer.response_id


def stable_version():
    assert "Hello" in ask("Hello", own=client(api_version="v1")).text


def generate_is_cut_at_its_limit():
    answer = ask(max_output_tokens=9, thinking_config=types.ThinkingConfig(thinking_budget=0))
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert answer.usage_metadata.candidates_token_count == 9


def stream():
    events = ask_stream("Hello, world")
    assert len(events) > 2 and "Hello, world" in "".join(event.text or "" for event in events)
    reasons = [event.candidates[0].finish_reason for event in events]
    assert reasons[-1] == types.FinishReason.STOP and not any(reasons[:-1]), reasons
    counts = [event.usage_metadata.candidates_token_count for event in events if event.usage_metadata]
    assert counts and counts == sorted(counts), counts


def thoughts():
    events = ask_stream(thinking_config=types.ThinkingConfig(include_thoughts=True))
    parts = [part for event in events for part in event.candidates[0].content.parts]
    assert parts[0].thought and not parts[-1].thought, parts


def tools():
    config = {"tools": [DECLARED], "automatic_function_calling": {"disable": True}}
    first = ask("weather in Rome", **config)
    call = first.function_calls[0]
    assert call.name == "weather" and "city" in call.args, first
    answer = types.Part.from_function_response(name="weather", response={"sky": "blue"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="weather in Rome")]),
        first.candidates[0].content,
        types.Content(role="user", parts=[answer]),
    ]
    assert "blue" in ask(contents, **config).text
    assert ask_stream("weather in Rome", **config)[-1].function_calls[0].name == "weather"


def tools_that_the_library_calls():
    answer = ask("weather in Rome", tools=[weather])
    assert "blue sky over" in answer.text, answer


def tool_config():
    none = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="NONE"))
    config = {"tools": [DECLARED], "automatic_function_calling": {"disable": True}}
    assert not ask("weather in Rome", tool_config=none, **config).function_calls


def json_schema():
    answer = ask("a city", response_mime_type="application/json", response_schema=City)
    assert isinstance(answer.parsed, City) and answer.parsed.districts, answer
    answer = ask("a city", response_mime_type="application/json", response_json_schema=City.model_json_schema())
    City.model_validate_json(answer.text)


def picture():
    data = base64.b64decode(PICTURE)
    answer = ask(["What is this?", types.Part.from_bytes(data=data, mime_type="image/png")])
    assert f"image/png, {len(data)} bytes" in answer.text and answer.usage_metadata.prompt_token_count > 258, answer


def embeddings():
    answer = client().models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    assert [len(one.values) for one in answer.embeddings] == [3072, 3072]
    config = types.EmbedContentConfig(output_dimensionality=8)
    answer = client().models.embed_content(model="gemini-embedding-001", contents="one", config=config)
    assert len(answer.embeddings[0].values) == 8


def count_tokens():
    assert client().models.count_tokens(model=CHAT, contents="twelve bytes").total_tokens == 3


def models():
    names = [model.name for model in client().models.list(config={"page_size": 3})]
    assert f"models/{CHAT}" in names and len(names) == len(set(names)) > 3, names
    assert client().models.get(model=CHAT).name == f"models/{CHAT}"


def failures():
    cases = [
        (errors.ClientError, 400, lambda: ask(own=client("UNKNOWN_KEY"))),
        (errors.ClientError, 403, lambda: ask(own=client("SUSPENDED_KEY"))),
        (errors.ClientError, 404, lambda: ask(model="nothing-of-that-name")),
        (errors.ClientError, 400, lambda: ask(own=client(timeout=5000))),
        (errors.ClientError, 429, lambda: ask(model="gemini-limited")),
        (errors.ServerError, 503, lambda: ask(model="gemini-overloaded")),
        (errors.ServerError, 500, lambda: ask(model="gemini-failing")),
        (errors.ServerError, 503, lambda: ask_stream(model="gemini-overloaded")),
        (errors.ServerError, 503, lambda: ask_stream(model="gemini-broken")),
    ]
    for kind, code, call in cases:
        error = raises(kind, call)
        assert error.code == code and error.status and error.message, error
    limited = raises(errors.ClientError, lambda: ask(model="gemini-limited"))
    kinds = [detail["@type"].rsplit(".", 1)[-1] for detail in limited.details["error"]["details"]]
    assert kinds == ["Help", "QuotaFailure", "RetryInfo"], kinds
    assert limited.details["error"]["details"][2]["retryDelay"] == "7s"


def streams_that_are_cut():
    try:
        ask_stream(model="gemini-cut")
    except Exception as error:  # of the HTTP library, which is another one in every second version
        assert type(error).__name__ == "RemoteProtocolError", repr(error)
    else:
        raise AssertionError("a stream that is cut raises something")


def vertex_express():
    own = genai.Client(
        vertexai=True,
        api_key=setting("EXPRESS_KEY"),
        http_options=types.HttpOptions(base_url=setting("GOOGLE_BASE")),
    )
    assert "Hello" in ask("Hello", model="gemini-2.5-pro", own=own).text


def refusals_of_the_proxy():
    cases = [
        (errors.ClientError, 401, lambda: ask(own=client("UNKNOWN_KEY"))),
        (errors.ClientError, 404, lambda: ask(model="nothing-of-that-name")),
        (errors.ServerError, 503, lambda: ask(model="gemini-overloaded")),
        (errors.ServerError, 503, lambda: ask(model="gemini-failing")),
        (errors.ServerError, 503, lambda: ask_stream(model="gpt-overloaded")),
    ]
    for kind, code, call in cases:
        error = raises(kind, call)
        # Whether the tries or the time are used up first hangs on the machine.
        assert error.code in (code, 504 if code == 503 else code), error
        assert error.status and error.message, error
    hurried = client(hurried=True)
    limited = raises(errors.ServerError, lambda: ask(model="gemini-limited", own=hurried))
    kinds = [detail["@type"].rsplit(".", 1)[-1] for detail in limited.details["error"]["details"]]
    assert "RetryInfo" in kinds, limited.details


def streams_that_break_through_the_proxy():
    for model in ("gemini-broken", "gemini-cut", "gpt-broken", "gpt-cut"):
        raises(errors.ServerError, lambda model=model: ask_stream(model=model))


def main():
    asking = [generate, generate_is_cut_at_its_limit, stream, tools, tools_that_the_library_calls, tool_config]
    common = [*asking, json_schema, picture]
    native = [thoughts, embeddings, count_tokens, models, stable_version]
    alone = [failures, streams_that_are_cut, vertex_express]
    proxied = [refusals_of_the_proxy, streams_that_break_through_the_proxy]
    run(common + {"mock": native + alone, "serve": native + proxied, "translated": []}[setting("MODE")])


main()
