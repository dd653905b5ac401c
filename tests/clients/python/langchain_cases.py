"""LangChain over its openai package: an older openai library, and another reader of the answers."""

from cases import run, setting
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"blue sky over {city}"


def model(**options):
    return ChatOpenAI(
        model=setting("CHAT"), base_url=setting("OPENAI_BASE"), api_key=setting("OPENAI_KEY"), max_retries=0, **options
    )


def chat():
    answer = model().invoke("Hello, world")
    assert "Hello, world" in answer.content and answer.usage_metadata["output_tokens"] > 0, answer


def stream():
    pieces = list(model(stream_usage=True).stream("Hello, world"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert "Hello, world" in whole.content and len(pieces) > 3 and whole.usage_metadata["input_tokens"] > 0, whole


def tools():
    answer = model().bind_tools([weather]).invoke("weather in Rome")
    assert answer.tool_calls[0]["name"] == "weather" and "city" in answer.tool_calls[0]["args"], answer


def json_schema():
    city = model().with_structured_output(City).invoke("a city")
    assert isinstance(city, City)


def embeddings():
    own = OpenAIEmbeddings(
        model=setting("EMBEDDING").split(":")[0],
        base_url=setting("OPENAI_BASE"),
        api_key=setting("OPENAI_KEY"),
        check_embedding_ctx_length=False,  # counting tokens would need a vocabulary from elsewhere
    )
    assert len(own.embed_query("one")) == int(setting("EMBEDDING").split(":")[1])


run([chat, stream, tools, json_schema, embeddings])
