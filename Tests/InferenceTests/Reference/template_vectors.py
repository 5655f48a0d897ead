#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what Jinja makes of chat templates, set up as the transformers library sets it up, to compare ours with.

    pip install jinja2
    template_vectors.py OUT.json
"""
import json
import sys

try:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError:
    sys.exit("skipped: the Python package jinja2 is not installed")


class Generation(Extension):
    """The tag around what an assistant said, which means nothing for rendering."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    return made


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Hi <|im_start|> \"there\"\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello é", "tool_calls": [
        {"type": "function", "function": {"name": "f", "arguments": {"a": 1, "b": [True, None, 1.5], "c": "x\ty\"é"}}}]},
    {"role": "tool", "content": "42"},
    {"role": "user", "content": [{"type": "text", "text": " part "}, {"type": "image"}]},
]
SHORT = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "does it", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer", "items": 3}}, "required": ["a"]}}}]
CONTEXT = {
    "messages": SHORT, "tools": None, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
    "n": 7, "f": 2.5, "s": "Hello Wörld", "l": [3, 1, 2], "d": {"x": 1, "y": {"z": "w"}}, "e": "", "no": None,
}

PLAIN = [
    "", "text", "a\n", "a\n\n", "a\r\nb", "{{ s }}", "{{ n }} {{ f }} {{ no }} {{ true }} {{ l }} {{ d }} {{ missing }}",
    # White space around tags.
    "a\n  {% if n %}\n  b\n  {% endif %}\nc", "a  {%- if n -%}  b  {%- endif -%}  c", "a\n {%+ if n %}\nb{% endif %}\n\nc",
    "  {{ n }}\n  {{- n -}}\n  x", "{% if n +%}\nb{% endif %}", "a\n  {# note #}\nb {#- x -#} c", "\n{% if n %}\nx\n{% endif %}\n",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend", "  {% set a = 1 %}  \n  {{ a }}", "x {% if n %} y {% endif %} z",
    # Operators.
    "{{ 1 + 2 * 3 - 4 // 3 % 2 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2.5 * 2 }} {{ 1 / 4 }}",
    "{{ 'a' ~ 1 ~ none ~ 2.0 }} {{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ 'a' 'b' }}",
    "{{ not true or true }} {{ not (true or true) }} {{ n > 3 and n < 9 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ n == 7.0 }}",
    "{{ 'ell' in s }} {{ 3 in l }} {{ 'x' in d }} {{ 5 not in l }} {{ 'a' < 'b' }} {{ [1, 2] == [1, 2] }} {{ true == 1 }}",
    "{{ 'yes' if n else 'no' }} {{ 'yes' if e else 'no' }} [{{ 'x' if false }}] {{ e or 'other' }} {{ n and 'both' }}",
    "{{ -n }} {{ +n }} {{ -f|abs }} {{ (1, 2)[1] }} {{ {'a': 1, 'b': [2]} }} {{ [] }} {{ {} }} {{ 1_000 }} {{ 1.0 }} {{ 0.1 + 0.2 }}",
    # Items and slices.
    "{{ l[0] }} {{ l[-1] }} {{ l[9] }} {{ d.x }} {{ d['y'].z }} {{ d.none }} {{ s[1] }} {{ s[-1] }} {{ s[6:] }} {{ s[:-3] }}",
    "{{ l[1:] }} {{ l[::-1] }} {{ l[:2] }} {{ l[-2:] }} {{ s[::2] }} {{ s[::-1] }} {{ l[5:] }} {{ l[0:3:2] }} {{ l[:] }} {{ l[2:0:-1] }}",
    # Loops.
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}{{ loop.length }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}{% for x in missing %}a{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.last }}{% endfor %}", "{% for c in 'aéb' %}{{ c }}.{% endfor %}",
    "{% for x in range(5) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in range(2, 10, 3) %}{{ x }},{% endfor %}{% for x in range(3, 0, -1) %}{{ x }},{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for a in l %}{% for b in l %}{{ loop.depth }}{{ a * b }} {% endfor %}{% endfor %}",
    # Names.
    "{% set a = 1 %}{% for x in l %}{% set a = x %}{% endfor %}{{ a }}", "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% set ns = namespace(a=1, b='x') %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}",
    "{% set a %}x{{ n }}y{% endset %}{{ a }}{{ a|length }}", "{% if n %}{% set a = 3 %}{% endif %}{{ a }}",
    "{% macro m(a, b='q') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}",
    "{% set g = 5 %}{% macro m(x) %}{{ x }}{{ g }}{% if x > 0 %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m(x) %}\n  {{ x }}\n{% endmacro %}\na{{ m('b') | trim }}c",
    # Filters.
    "{{ '  a b  ' | trim }}|{{ s | upper }}|{{ s | lower }}|{{ 'heLLo wORLD' | title }}|{{ 'heLLo' | capitalize }}|{{ s | length }}",
    "{{ l | join(', ') }} {{ l | first }} {{ l | last }} {{ l | sort }} {{ l | sort(reverse=true) }} {{ l | reverse | list }} {{ l|length }}",
    "{{ missing | default('d') }} {{ e | default('d') }} {{ e | default('d', true) }} {{ no | default('d') }} {{ n | default('d') }}",
    "{{ (d | items | list)[1][0] }} {{ (d | dictsort)[0][1] }} {{ d | length }} {{ d | list }}", "{{ '12' | int + 1 }} {{ 'x' | int }} {{ 3.9 | int }} {{ '1.5' | float }}",
    "{{ l | map('string') | join('-') }} {{ messages | map(attribute='role') | join(',') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }} {{ messages | rejectattr('role', 'equalto', 'user') | list | length }}",
    "{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ [0, 1, ''] | select | list }} {{ ['a', 'A', 'b'] | unique | list }}",
    "{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a-b-c' | replace('-', '+') }}|{{ 'x' | safe }}|{{ n | string + 'y' }}",
    "{{ d | tojson }} {{ l | tojson }} {{ s | tojson }} {{ none | tojson }} {{ 1.0 | tojson }} {{ 'a\"\\\n\té/<>&' | tojson }}",
    "{{ d | tojson(indent=2) }}", "{{ {'b': 1, 'a': []} | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ {} | tojson(indent=4) }}",
    # Methods.
    "{{ '  a '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\n\na\n'.lstrip('\n') }}|{{ 'a\n\n'.rstrip('\n') }}|{{ 'abc'.rstrip('bc') }}",
    "{{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b,c'.split(',')[-1] }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.replace('b', 'XX') }} {{ 'a.b'.find('.') }} {{ 'aXa'.count('a') }}",
    "{{ d.get('x') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.keys() | list }} {{ d.values() | list | length }} {{ '-'.join(['a', 'b']) }}",
    "{{ 'AbC'.lower() }} {{ 'AbC'.upper() }} {{ 'abc def'.title() }} {{ 'abc'.capitalize() }} {{ 'a\nb\n'.splitlines() }} {{ '12'.isdigit() }}",
    # Tests.
    "{{ n is defined }} {{ missing is defined }} {{ missing is not defined }} {{ missing is undefined }} {{ no is none }} {{ n is not none }}",
    "{{ s is string }} {{ n is number }} {{ n is integer }} {{ f is float }} {{ true is boolean }} {{ d is mapping }} {{ l is mapping }}",
    "{{ l is iterable }} {{ s is iterable }} {{ d is sequence }} {{ n is iterable }} {{ true is true }} {{ 1 is true }} {{ false is false }}",
    "{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is eq(7) }} {{ n is gt 3 }} {{ 3 is in l }} {{ not n is defined }} {{ n is equalto 8 }}",
    "{{ 'a' is lower }} {{ 'A' is upper }} {{ 'aB' is lower }} {{ raise_exception is callable }} {{ n is sameas 7 }}",
    # What is wrong.
    "{{ raise_exception('no ' ~ n) }}", "{{ missing.x }}", "{{ 1 + 'a' }}", "{{ 1 // 0 }}", "{% if %}", "{% endif %}", "{{ a", "{{ 'a }}",
    "{% for x in 5 %}{% endfor %}", "{{ s.nothing() }}", "{{ l | nothing }}", "{{ l is nothing }}", "{% nothing %}", "{% if n %}", "{{ n n }}",
    "{{ [1, }}", "{{ missing + 1 }}", "{{ no.x.y }}", "{% set s.x = 1 %}",
]
CHATS = [
    # ChatML with a default system message.
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # Tools, calls and answers.
    """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<x>') and message.content.endswith('</x>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}""",
    # Turns that must alternate, a system message put into the first.
    """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
""",
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    """{%- for message in messages %}
{%- if message.role == 'assistant' %}
{% generation %}
{{ message.content }}{{ eos_token }}
{% endgeneration %}
{%- else %}
[{{ message.role | upper }}] {{ message.content }}
{%- endif %}
{%- endfor %}""",
]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    made = environment()
    cases = [(template, CONTEXT) for template in PLAIN]
    for template in CHATS:
        for messages in [TALK, TALK[:3], TALK[1:2], SHORT, SHORT[:2], []]:
            for tools in [None, TOOLS]:
                for prompt in [True, False]:
                    context = {"messages": messages, "tools": tools, "add_generation_prompt": prompt,
                               "bos_token": "<s>", "eos_token": "</s>"}
                    cases.append((template, context))
        cases.append((template, {"messages": SHORT, "tools": None, "add_generation_prompt": True, "bos_token": "<s>",
                                 "eos_token": "</s>", "enable_thinking": False}))
    results = []
    for template, context in cases:
        entry = {"template": template, "context": context}
        try:
            entry["text"] = made.from_string(template).render(**context)
        except Exception as error:
            entry["error"] = str(error)
        results.append(entry)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        # A line for each case.
        file.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in results) + "\n]\n")


if __name__ == "__main__":
    main()
