"""LangChain's standard tests over its OpenAI client: all of them on scripted answers, the forced ones on llama.cpp too.

The standard tests themselves skip what a chat model does not claim. Not claimed here: image, audio and PDF inputs and
image and PDF tool messages (they fetch their files from the internet), Anthropic-shaped inputs (another dialect), and
the timed replay of a recording.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests.chat_models import ChatModelTests

from tests.e2e.conformance.conftest import ADMIN_KEY
from tests.e2e.running import Penstock

NOT_CLAIMED = {
    "test_pdf_inputs",
    "test_audio_inputs",
    "test_image_inputs",
    "test_image_tool_message",
    "test_pdf_tool_message",
    "test_anthropic_inputs",
    "test_stream_time",
}


class _OverOurServer:
    """What both suites say of the model under test."""

    service = ""

    @pytest.fixture(autouse=True)
    def _at(self, server: Penstock) -> None:
        self.base_url = server.base_url

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.service,
            "base_url": self.base_url,
            "api_key": ADMIN_KEY,
            "max_retries": 0,
            "max_tokens": 160,
            "temperature": 0,
            "stream_usage": True,
        }


class TestScripted(_OverOurServer, ChatModelIntegrationTests):
    """Every standard test."""

    service = "scripted"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "assistant"


class TestGrammarForced(_OverOurServer, ChatModelTests):
    """What llama.cpp's grammars make even the smallest model do, and what needs no wits."""

    service = "assistant"

    test_invoke = ChatModelIntegrationTests.test_invoke
    test_astream = ChatModelIntegrationTests.test_astream
    test_batch = ChatModelIntegrationTests.test_batch
    test_conversation = ChatModelIntegrationTests.test_conversation
    test_stop_sequence = ChatModelIntegrationTests.test_stop_sequence
    test_usage_metadata = ChatModelIntegrationTests.test_usage_metadata
    test_usage_metadata_streaming = ChatModelIntegrationTests.test_usage_metadata_streaming
    test_tool_choice = ChatModelIntegrationTests.test_tool_choice
    test_tool_calling_with_no_arguments = ChatModelIntegrationTests.test_tool_calling_with_no_arguments
    test_tool_message_histories_string_content = ChatModelIntegrationTests.test_tool_message_histories_string_content
    test_tool_message_error_status = ChatModelIntegrationTests.test_tool_message_error_status
    test_structured_output = ChatModelIntegrationTests.test_structured_output


class TestEmbeddings(EmbeddingsIntegrationTests):
    """On MiniLM. Lengths are not counted by the client: that would fetch a tokenizer."""

    @pytest.fixture(autouse=True)
    def _at(self, server: Penstock) -> None:
        self.base_url = server.base_url

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {
            "model": "embed",
            "base_url": self.base_url,
            "api_key": ADMIN_KEY,
            "max_retries": 0,
            "check_embedding_ctx_length": False,
        }


def test_what_is_not_claimed_is_known() -> None:
    """A standard test that is new and skipped by default is looked at, not passed over."""
    skipping = {
        name
        for name in dir(ChatModelIntegrationTests)
        if name.startswith("test_") and "pytest.skip" in _source(getattr(ChatModelIntegrationTests, name))
    }
    claimed = {name for name in skipping if any(part in name for part in ("tool", "usage", "override", "structured"))}
    assert skipping - claimed - {"test_json_mode", "test_agent_loop", "test_bind_runnables_as_tools"} <= NOT_CLAIMED


def _source(function: object) -> str:
    code = getattr(function, "__code__", None)
    return "pytest.skip" if code is not None and "skip" in code.co_names else ""
