"""The reader of examples: what it finds, and that nothing slips past it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import blocks
from tests.docs.test_examples import commands

PAGE = """\
Text.

```python
print(1)
```

<!-- not run: it would not end -->

```sh
sleep infinity
```

1. In a list:

   ~~~yaml title="a file"
   a: 1
     b: 2
   ~~~
"""


def page(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "page.md"
    file.write_text(text)
    return file


def test_blocks_are_found_in_order(tmp_path: Path) -> None:
    found = list(blocks(page(tmp_path, PAGE)))
    assert [(block.line, block.language) for block in found] == [(3, "python"), (9, "sh"), (15, "yaml")]
    assert found[0].text == "print(1)\n"
    assert found[2].text == "a: 1\n  b: 2\n"


def test_only_the_block_below_a_mark_is_left_out(tmp_path: Path) -> None:
    assert [block.reason for block in blocks(page(tmp_path, PAGE))] == ["", "it would not end", ""]


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n",
        "<!-- not run: why -->\n",
        "<!-- not run: why -->\nSome text.\n\n```sh\ntrue\n```\n",
    ],
    ids=["an open fence", "a mark at the end", "a mark above text"],
)
def test_what_would_slip_past_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md:1"):
        list(blocks(page(tmp_path, text)))


def test_a_mark_needs_a_reason(tmp_path: Path) -> None:
    [block] = blocks(page(tmp_path, "<!-- not run: -->\n```sh\ntrue\n```\n"))
    assert block.reason == ""


def test_of_a_session_only_what_was_typed_is_run() -> None:
    assert commands("console", "$ echo a \\\n  b\na b\n$ true\n") == "echo a \\\n  b\ntrue"
    assert commands("sh", "echo a\n") == "echo a\n"
