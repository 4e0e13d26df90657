"""Renders chat templates with transformers into `fixtures/templates/cases.json`.

The templates are ours, written in the styles found on the hub so as to use what those use: filters, methods of strings and
dictionaries, slices, namespaces, loop variables, macros, white-space control, exceptions, dates. Each case is
`{label, template, messages, kwargs, text}`, `template` naming one of `templates`; where rendering must fail, `error` stands for `text`.
"""

import datetime

import common
from common import FIXTURES
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

LLAVA = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Pictures come first #}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{# Then the words #}"
    "{% if message['role'] != 'assistant' %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' '}}{% endfor %}"
    "{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ part['text'] + eos_token }}{% endgeneration %}"
    "{% endfor %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

VICUNA = """\
{%- if messages[0]['role'] == 'system' -%}
    {%- set preface = messages[0]['content'] | trim -%}
    {%- set messages = messages[1:] -%}
{%- else -%}
    {%- set preface = 'A chat between a curious user and a helpful assistant.' -%}
{%- endif -%}
{{ bos_token + preface }}
{%- for message in messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('User and assistant take turns.') }}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{ ' USER: ' + message['content'] | trim }}
    {%- elif message['role'] == 'assistant' -%}
        {{ ' ASSISTANT: ' + message['content'] | trim + eos_token }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ ' ASSISTANT:' }}
{%- endif -%}
"""

# Every kind of end, in text, behind tags, in a string and in what is written raw.
ENDS = (
    "first\r\n  {% if true %}\r\n  in\r  {% endif %}\r\r\n{{ 'a\r\nb\rc' }}\n\r{% raw %}\r\n{{ x }}\r{% endraw %}"
    "{# a note\r\n#}\r{{- messages[0]['content'] }}{% set x = 'y\r' -%}\r\n  {{ x }}{%- if x == 'y\n' %}\r\n line feed{% endif %}\r\n"
)

CHATML = """\
{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' -%}
{{ '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>' + ('\\n' if not loop.last else '') }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '\\n<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA3 = """\
{{- bos_token }}
{%- if own_tools is defined %}
    {%- set tools = own_tools %}
{%- endif %}
{%- if not today is defined %}
    {%- if strftime_now is defined %}
        {%- set today = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set today = "1 Jan 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set seen = namespace(picture=false) %}
{%- for turn in messages %}
    {%- if turn['content'] is not string %}
        {%- for part in turn['content'] %}
            {%- if part['type'] == 'image' %}
                {%- set seen.picture = true %}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
{%- if messages[0]['role'] == 'system' %}
    {%- if seen.picture %}
        {{- raise_exception("A picture cannot be combined with a system turn.") }}
    {%- endif %}
    {%- set preface = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set preface = "" %}
{%- endif %}
{%- if (preface or tools) and not seen.picture %}
    {{- "<|head|>system<|body|>\\n\\n" }}
    {{- "Today: " + today + "\\n\\n" }}
    {%- if tools is not none %}
        {{- "You may call:\\n" }}
        {%- for t in tools %}
            {{- t | tojson(indent=4) }}
            {{- "\\n\\n" }}
        {%- endfor %}
    {%- endif %}
    {{- preface }}
    {{- "<|over|>" }}
{%- endif %}
{%- for turn in messages %}
    {%- if not (turn.role == 'tool' or 'tool_calls' in turn) %}
    {{- '<|head|>' + turn['role'] + '<|body|>\\n\\n' }}
        {%- if turn['content'] is string %}
            {{- turn['content'] | trim }}
        {%- else %}
            {%- for part in turn['content'] %}
                {%- if part['type'] == 'image' %}
                    {{- '<|image|>' }}
                {%- elif part['type'] == 'text' %}
                    {{- part['text'] | trim }}
                {%- endif %}
            {%- endfor %}
        {%- endif %}
        {{- '<|over|>' }}
    {%- elif 'tool_calls' in turn %}
        {%- if not turn.tool_calls|length == 1 %}
            {{- raise_exception("One call at a time.") }}
        {%- endif %}
        {%- set call = turn.tool_calls[0].function %}
        {{- '<|head|>assistant<|body|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|over|>" }}
    {%- else %}
        {{- "<|head|>tool<|body|>\\n\\n" }}
        {%- if turn.content is mapping or turn.content is iterable and turn.content is not string %}
            {{- turn.content | tojson }}
        {%- else %}
            {{- turn.content }}
        {%- endif %}
        {{- "<|over|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|body|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set preface = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set count = namespace(n=0) %}
{%- for turn in turns %}
    {%- if not (turn.role == "tool" or turn.role == "tool_results") %}
        {%- if (turn["role"] == "user") != (count.n % 2 == 0) %}
            {{- raise_exception("Only turns of user and assistant, one after the other.") }}
        {%- endif %}
        {%- set count.n = count.n + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for turn in turns %}
    {%- if turn["role"] == "user" %}
        {%- if loop.last and preface is defined %}
            {{- "[INST]" + preface + "\\n\\n" }}
        {%- else %}
            {{- "[INST]" }}
        {%- endif %}
        {%- if turn["content"] is not string %}
            {%- for part in turn["content"] %}
                {%- if part["type"] == "text" %}
                    {{- part["text"] }}
                {%- elif part["type"] == "image" %}
                    {{- "[IMG]" }}
                {%- else %}
                    {{- raise_exception("Cannot show a " ~ part["type"]) }}
                {%- endif %}
            {%- endfor %}
        {%- else %}
            {{- turn["content"] }}
        {%- endif %}
        {{- "[/INST]" }}
    {%- elif turn["role"] == "assistant" %}
        {{- " " + turn["content"].strip() + eos_token }}
    {%- else %}
        {{- raise_exception("Who is speaking?") }}
    {%- endif %}
{%- endfor %}
"""

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
    "{% set preface = messages[0]['content'] %}"
    "{% else %}{% set turns = messages %}{% set preface = false %}{% endif %}"
    "{% for turn in turns %}"
    "{% if loop.index0 == 0 and preface != false %}"
    "{% set said = '<<SYS>>\\n' + preface + '\\n<</SYS>>\\n\\n' + turn['content'] %}"
    "{% else %}{% set said = turn['content'] %}{% endif %}"
    "{% if turn['role'] == 'user' %}{{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}"
    "{% elif turn['role'] == 'assistant' %}{{ ' '  + said.strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)

GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set lead = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set lead = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set lead = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = turn['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (lead if loop.first else "") }}
    {%- if turn['content'] is string -%}
        {{ turn['content'] | trim }}
    {%- elif turn['content'] is iterable -%}
        {%- for part in turn['content'] -%}
            {%- if part['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif part['type'] == 'text' -%}
                {{ part['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Neither words nor parts") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
"""

SMOL = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

COUNTING = """\
{% set pictures = namespace(n=0) %}{% set video_count = namespace(n=0) %}
{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}
{% for part in message['content'] %}
{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}
{% set pictures.n = pictures.n + 1 %}
{% if number_them %}Picture {{ pictures.n }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part %}{{ part['text'] }}{% endif %}
{% endfor %}<|im_end|>
{% endif %}
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}
"""

THINKING = """\
{%- macro render(content, is_last=false) -%}
    {%- if content is string -%}{{- content -}}
    {%- else -%}
        {%- for item in content -%}
            {%- if item.type == 'image' -%}<image>{%- else -%}{{- item.text -}}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(last_query=-1, seen=[]) -%}
{%- for message in messages[::-1] -%}
    {%- set index = (messages|length - 1) - loop.index0 -%}
    {%- if ns.last_query < 0 and message.role == 'user' -%}
        {%- set ns.last_query = index -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- set content = render(message.content) -%}
    {%- if message.role == 'assistant' -%}
        {%- set reasoning = '' -%}
        {%- if '</think>' in content -%}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
        {%- endif -%}
        {%- if loop.index0 > ns.last_query and reasoning -%}
            {{- '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' -}}
        {%- endif -%}
    {%- endif -%}
    {%- if content.startswith('!') and not content.endswith('.') -%}
        {{- '[' ~ loop.index ~ '/' ~ loop.length ~ '] ' -}}
    {%- endif -%}
    {{- '<' + message.role + '>' + content + '</' + message.role + '>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<assistant>' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- endif -%}
{%- endif -%}
"""

ODDS = [
    "{{ messages[0]['content'].split()[-1] | upper }}|{{ messages[0]['content'].split()[1:3] | join('+') }}|{{ messages[0]['content'][:5] }}|{{ messages[0]['content'][-4:-2] }}",
    "{{ messages[0]['content'].replace('a', 'o') }}|{{ messages[0]['content'].title() }}|{{ 'one two'.capitalize() }}|{{ ' x '.lstrip() }}|{{ 'aXbX'.count('X') }}|{{ 'abc'.find('c') }}",
    "{{ 'x' * 3 }}|{{ 7 // 2 }}|{{ 7 / 2 }}|{{ 2 ** 5 }}|{{ -7 % 3 }}|{{ 1.0 }}|{{ 1e3 }}|{{ 4 / 2 }}",
    "{% for key, value in messages[0].items() %}{{ key }}={{ value | length }}{{ ', ' if not loop.last }}{% endfor %}|{{ messages[0].keys() | list }}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{{ loop.revindex0 }}{% else %}none{% endfor %}{% for m in [] %}x{% else %}|empty{% endfor %}",
    "{{ messages | map(attribute='role') | unique | list | tojson }}|{{ messages | rejectattr('role', 'eq', 'user') | list | length }}|{{ messages | map(attribute='role') | join(',') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | last }}|{{ (messages | selectattr('role', 'in', ['system', 'tool']) | list)[0].content | trim }}",
    '{{ {\'b\': [1, 2.5, none, true], \'a\': \'é"<&>\\n\'} | tojson }}|{{ [] | tojson }}|{{ {} | tojson(indent=2) }}|{{ {\'z\': 1, \'a\': [1, {\'q\': 2}]} | tojson(indent=2) }}',
    "{{ {'z': 1, 'a': 1.0} | tojson(sort_keys=true) }}|{{ 'é' | tojson(ensure_ascii=true) }}|{{ [1, 2] | tojson(separators=(',', ':')) }}",
    '{{ none }}|{{ true }}|{{ [1, \'two\', none, 2.0] }}|{{ {\'k\': \'v\', \'n\': none} }}|{{ \'it\\\'s\' }}|{{ ["it\'s", \'a"b\'] }}|{{ (1, 2) }}',
    "{{ messages[0].missing is defined }}|{{ messages[0].get('missing', 'fallback') }}|{{ messages[0].missing or 'other' }}|{{ messages[0].missing | default('none') }}|{{ nothing }}|{{ '' | default('empty', true) }}",
    "{{ 'user' in messages | map(attribute='role') | list }}|{{ 'b' in 'abc' }}|{{ 'z' not in 'abc' }}|{{ 'role' in messages[0] }}|{{ messages | length > 1 and not false }}",
    '{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if loop.index0 == 3 %}{% break %}{% endif %}{{ loop.index0 }}{% endfor %}',
    "{% for m in messages %}{{ '=' if loop.previtem is defined and loop.previtem.role == m.role }}{{ loop.nextitem.role if loop.nextitem is defined else 'end' }};{% endfor %}",
    "{{ messages[-1].content | trim | replace(' ', '_') }}|{{ '%s-%d' | format('n', 3) }}|{{ 'a' ~ 1 ~ none }}|{{ 'tab\\there' }}|{{ '%02d' % 7 }}",
    '{%- filter upper %} shout {% endfilter %}{% raw %}{{ raw }}{% endraw %}{% set block %}caught {{ 1 + 1 }}{% endset %}{{ block }}',
    "{{ dict(a=1, b=2).b }}|{{ range(3) | list }}|{{ range(1, 7, 2) | list }}|{{ 'abc' | reverse }}|{{ [3, 1, 2] | sort | join }}|{{ [3, 1, 2] | max }}|{{ [[1, 2], [3]] | sum(start=[]) }}",
    '{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{% endfor %}{{ x }}{% with y = 2 %}{{ y }}{% endwith %}',
    "{% macro row(a, b='d') %}[{{ a }}:{{ b }}]{% endmacro %}{{ row(1) }}{{ row(2, b='e') }}{% if 3 is odd and 'a' is string and 1 is number and none is none and {} is mapping and [] is sequence %}!{% endif %}",
    "   {% if true %}   \n  kept  \n   {% endif %}\n\n  {{- ' a' -}}  \n b\n{#- note -#}\n c {%+ if true %}d{% endif +%}\n\n",
    "{{ messages[0]['content'] | indent(2) }}|{{ 'a\\nb' | indent(2) }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'one two three' | wordcount }}|{{ 'x,y'.split(',')[1] }}|{{ 'a  b'.split(' ') }}|{{ 'a\\nb\\n'.splitlines() }}",
    "{{ messages[0].content.strip() | length }}|{{ 'Aé円' | length }}|{{ 'Aé円'[::-1] }}|{{ 'Aé円'[1] }}|{{ 3.7 | int }}|{{ '12' | int + 1 }}|{{ 2 | float }}|{{ 2.567 | round(1) }}|{{ [1, 2, 3] | batch(2) | list }}",
]


def text(words):
    return {"type": "text", "text": words}


PICTURE = {"type": "image"}
PLAIN = [
    {"role": "user", "content": "  What is this?  "},
    {"role": "assistant", "content": " A <red> square & a «circle». "},
    {"role": "user", "content": "Où?"},
]
SYSTEM = [{"role": "system", "content": " Be brief. "}] + PLAIN
PARTS = [
    {"role": "user", "content": [PICTURE, text("What is this?")]},
    {"role": "assistant", "content": [text("A square.")]},
    {"role": "user", "content": [text("And "), PICTURE, PICTURE, text(" these? 円")]},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "measure",
            "description": "Measures a shape & says \"how big\".",
            "parameters": {"type": "object", "properties": {"shape": {"type": "string"}}, "required": ["shape"]},
        },
    }
]
CALLS = [
    {"role": "user", "content": "How big is it?"},
    {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": {"name": "measure", "arguments": {"shape": "carré", "n": 2, "x": 1.0, "deep": [True, None]}}}],
    },
    {"role": "tool", "content": {"size": 3.5, "unit": "cm"}},
    {"role": "tool", "content": "done"},
]
THOUGHTS = [
    {"role": "user", "content": "!hi"},
    {"role": "assistant", "content": "<think>\nold thought\n</think>\n\nhello"},
    {"role": "user", "content": [PICTURE, {"type": "text", "text": "why?"}]},
    {"role": "assistant", "content": "<think>\nfresh\n\nthought\n</think>\n\n!because"},
]

CASES = [
    ("llava", LLAVA, PARTS[:1], {}),
    ("llava, three turns", LLAVA, PARTS, {}),
    ("llava, no prompt for an answer", LLAVA, PARTS, {"add_generation_prompt": False}),
    ("vicuna", VICUNA, PLAIN, {}),
    ("vicuna, system", VICUNA, SYSTEM, {}),
    ("vicuna, roles out of order", VICUNA, PLAIN[1:], {}),
    ("chatml, plain", CHATML, PLAIN, {}),
    ("chatml, system", CHATML, SYSTEM, {"add_generation_prompt": False}),
    ("chatml, parts", CHATML, PARTS, {}),
    ("llama 3, plain", LLAMA3, PLAIN, {}),
    ("llama 3, today", LLAMA3, SYSTEM, {}),
    ("llama 3, given day", LLAMA3, SYSTEM, {"today": "01 Jan 2025"}),
    ("llama 3, parts", LLAMA3, PARTS, {}),
    ("llama 3, picture and system", LLAMA3, SYSTEM[:1] + PARTS, {}),
    ("llama 3, tools", LLAMA3, CALLS, {"tools": TOOLS, "today": "01 Jan 2025"}),
    ("mistral, plain", MISTRAL, PLAIN, {}),
    ("mistral, system", MISTRAL, SYSTEM, {}),
    ("mistral, parts", MISTRAL, [PARTS[0], {"role": "assistant", "content": "A square."}, PARTS[2]], {}),
    ("mistral, roles out of order", MISTRAL, PLAIN[:1] + PLAIN[:1], {}),
    ("mistral, unknown part", MISTRAL, [{"role": "user", "content": [{"type": "sound"}]}], {}),
    ("llama 2, plain", LLAMA2, PLAIN, {}),
    ("llama 2, system", LLAMA2, SYSTEM, {}),
    ("gemma, parts", GEMMA, [{"role": "system", "content": [text("Be brief.")]}] + PARTS, {}),
    ("gemma, plain", GEMMA, PLAIN, {"add_generation_prompt": False}),
    ("gemma, content of no kind", GEMMA, [{"role": "user", "content": 3}], {}),
    ("smol", SMOL, PARTS, {}),
    ("counting, no numbers", COUNTING, PARTS, {}),
    ("counting, numbers", COUNTING, PARTS, {"number_them": True}),
    ("counting, plain", COUNTING, SYSTEM, {"add_generation_prompt": False}),
    ("thinking", THINKING, THOUGHTS[:3], {}),
    ("thinking, off", THINKING, THOUGHTS[:3], {"enable_thinking": False}),
    ("thinking, after the question", THINKING, THOUGHTS, {"add_generation_prompt": False}),
    ("ends of lines", ENDS, [{"role": "user", "content": "one\r\ntwo\rthree"}], {}),
    ("ends of lines, twice at the end", ENDS + "\r\n\r\n", PLAIN, {}),
    ("vicuna, as written on Windows", VICUNA.replace("\n", "\r\n"), PLAIN, {}),
    ("chatml, as written on Windows", CHATML.replace("\n", "\r\n"), PLAIN, {}),
    ("chatml, as written long ago", CHATML.replace("\n", "\r"), SYSTEM, {}),
] + [(f"odds and ends {i}", template, PLAIN + SYSTEM[:1], {}) for i, template in enumerate(ODDS, 1)]


class Today(datetime.datetime):
    """A clock that stands still, so that `strftime_now` gives the same text every day."""

    @classmethod
    def now(cls, tz=None):
        return cls(2025, 2, 3, 4, 5, 6)


def main():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>")),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    chat_template_utils.datetime = Today
    rows, names = [], {}
    for label, template, messages, kwargs in CASES:
        name = names.setdefault(template, label)
        row = {"label": label, "template": name, "messages": messages, "kwargs": {"add_generation_prompt": True} | kwargs}
        try:
            row["text"] = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **row["kwargs"])
        except Exception as error:
            row["error"] = str(error)
        print(f"== {label}\n{row.get('text', 'ERROR ' + row.get('error', ''))}")
        rows.append(row)
    about = {"special_tokens": tokenizer.special_tokens_map, "now": Today.now().isoformat()}
    about |= {"templates": {name: template for template, name in names.items()}, "cases": rows}
    common.write_json(FIXTURES / "templates" / "cases.json", about)
    common.why(
        FIXTURES / "templates",
        "templates.py",
        "Chat templates in the styles of the hub, and the text that transformers renders from them.",
        {"text": "equal"},
        "Text is text. `error` holds the message given to raise_exception, or Jinja's own; only that there is an error must agree, and the "
        "message where the template raised it.",
    )


if __name__ == "__main__":
    main()
