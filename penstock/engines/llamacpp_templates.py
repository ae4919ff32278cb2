"""Tools for chat templates that know of none. Pure.

Many small models carry a template that leaves tools out, and llama.cpp would then leave them out silently. Such a
template gets a preamble that puts the tools, the calls and their results into messages it can render. The words
are those of the Hermes function-calling format, which llama.cpp recognizes in the answer:
https://github.com/NousResearch/Hermes-Function-Calling
"""

from __future__ import annotations

import re

_TOLD_BEFORE = (
    r"# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    r"You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOLD_AFTER = (
    r"\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    r"<tool_call></tool_call> XML tags:\n<tool_call>\n"
    r'{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)

# Every tag trims the white space around it, so the preamble itself renders as nothing.
_PREAMBLE = f"""
{{%- set penstock = namespace(messages=[], text='') -%}}
{{%- if tools -%}}
{{%- if messages and messages[0]['role'] == 'system' -%}}
{{%- set penstock.text = messages[0]['content'] + '\\n\\n' -%}}
{{%- endif -%}}
{{%- set penstock.text = penstock.text + '{_TOLD_BEFORE}' -%}}
{{%- for tool in tools -%}}
{{%- set penstock.text = penstock.text + '\\n' + (tool | tojson) -%}}
{{%- endfor -%}}
{{%- set penstock.messages = [{{'role': 'system', 'content': penstock.text + '{_TOLD_AFTER}'}}] -%}}
{{%- endif -%}}
{{%- for message in messages -%}}
{{%- if tools and loop.first and message['role'] == 'system' -%}}
{{%- elif message['role'] == 'tool' -%}}
{{%- set penstock.text = '<tool_response>\\n' + message['content'] + '\\n</tool_response>' -%}}
{{%- set penstock.messages = penstock.messages + [{{'role': 'user', 'content': penstock.text}}] -%}}
{{%- elif message['role'] == 'assistant' and message['tool_calls'] -%}}
{{%- set penstock.text = message['content'] or '' -%}}
{{%- for call in message['tool_calls'] -%}}
{{%- set penstock.text = penstock.text + ('\\n' if penstock.text else '') + '<tool_call>\\n{{"name": "'
 + call['function']['name'] + '", "arguments": ' + (call['function']['arguments'] | tojson)
 + '}}\\n</tool_call>' -%}}
{{%- endfor -%}}
{{%- set penstock.messages = penstock.messages + [{{'role': 'assistant', 'content': penstock.text}}] -%}}
{{%- else -%}}
{{%- set penstock.messages = penstock.messages + [message] -%}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- set messages = penstock.messages -%}}
"""

_KNOWS_TOOLS = re.compile(r"\btool(s|_calls|_call)\b")


def with_tools(template: str) -> str:
    """The template itself when it mentions tools; else one that renders the same, and tools too."""
    return template if _KNOWS_TOOLS.search(template) else _PREAMBLE.strip() + template
