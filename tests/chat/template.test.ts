/**
 * Chat templates as Python's Jinja renders them, and what a caller or a checkpoint may do wrong. The texts under
 * "as Jinja2" were checked against Jinja2 3.1.6 with transformers' settings (sandbox, trim_blocks, lstrip_blocks, its tojson).
 */
import { describe, expect, it } from "vitest";
import { ChatTemplate, type ChatTemplateOptions } from "../../src/chat/template.js";
import type { ChatMessage } from "../../src/chat/types.js";

const hi: ChatMessage[] = [{ role: "user", content: "hi" }];

function render(source: string, options: ChatTemplateOptions = {}, messages = hi): string {
  return new ChatTemplate(source).render(messages, options);
}

const text = (length: number): ChatMessage[] => [{ role: "user", content: "x".repeat(length) }];

/** A list whose text has 2^60 items. */
const NESTED = "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}";

/** Looking for the second in the first takes V8 minutes, and nothing interrupts it. */
const search: ChatMessage[] = [
  { role: "user", content: "a".repeat(2 ** 20) },
  { role: "user", content: `aaaaaaaab${"a".repeat(2 ** 19)}` },
];

describe("as Jinja2", () => {
  it.each([
    ["{{ x.strip('\\n') }}|", "  \n a |"],
    ["{{ x.lstrip('\\n') }}|", "  \n a \n\n|"],
    ["{{ x.rstrip('\\n ') }}|", "\n  \n a|"],
    ["{{ x.strip() }}|", "a|"],
    ["{{ x | trim }}|", "a|"],
    ["{{ '--a-b--' | trim('-') }}", "a-b"],
    ["{{ '\ufeffa\u001c\u0085 '.strip() }}|", "\ufeffa|"],
    ["{{ 'xyab'.strip('yx') }}", "ab"],
    ["{{ 'a'.strip(none) }}", "a"],
    ["{{ x['strip']('\\n') }}|", "  \n a |"],
    ["{% set f = x.strip %}{{ f('\\n') }}|", "  \n a |"],
    ["{{ '--a--' | trim(chars='-') }}", "a"],
    ["{% filter trim('-') %}--a--{% endfilter %}", "a"],
  ])("strips exactly what it was asked to: %j", (source, expected) => {
    expect(render(source, { x: "\n  \n a \n\n" })).toBe(expected);
  });

  const value = {
    b: 1e-7,
    a: [0.00001, 1.5, 1e22, 123456789.125, 0.0001, -0.00002],
    e: [],
    f: {},
    s: '"\u00e9\u007f\u2028\n',
  };
  it.each([
    [
      "{{ v | tojson }}",
      '{"b": 1e-07, "a": [1e-05, 1.5, 1e+22, 123456789.125, 0.0001, -2e-05], "e": [], "f": {}, "s": "\\"\u00e9\u007f\u2028\\n"}',
    ],
    [
      "{{ v.a | tojson(indent=2) }}",
      "[\n  1e-05,\n  1.5,\n  1e+22,\n  123456789.125,\n  0.0001,\n  -2e-05\n]",
    ],
    ["{{ [{'a': [1]}] | tojson(indent=1) }}", '[\n {\n  "a": [\n   1\n  ]\n }\n]'],
    ["{{ [1] | tojson(indent=0) }}", "[\n1\n]"],
    ["{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", '{"a": 2, "b": 1}'],
    ["{{ {'b': [1, 2]} | tojson(separators=(',', ':')) }}", '{"b":[1,2]}'],
    ["{{ v.s | tojson(ensure_ascii=true) }}", '"\\"\\u00e9\\u007f\\u2028\\n"'],
    ["{{ [true, false, none] | tojson }}", "[true, false, null]"],
  ])("writes JSON as Python: %j", (source, expected) => {
    expect(render(source, { v: value })).toBe(expected);
  });

  const things = {
    flag: true,
    nothing: null,
    list: [3, "a'b", 'c"d', "e\n\u00a0\u2028\u200b", null, false, 1.5, []],
    dict: { k: "v", l: { m: 1 } },
  };
  it.each([
    ["{{ flag }} {{ not flag }} {{ none }} {{ nothing }} {{ absent }}|", "True False None None |"],
    ["{{ list }}", "[3, \"a'b\", 'c\"d', 'e\\n\\xa0\\u2028\\u200b', None, False, 1.5, []]"],
    ["{{ dict }} {{ {} }} {{ (1, 2) }}", "{'k': 'v', 'l': {'m': 1}} {} (1, 2)"],
    [
      "{{ 1 / 2 }} {{ 10 / 5 }} {{ 1 / 100000 }} {{ 3 * 1.0 }} {{ 0.1 + 0.2 }}",
      "0.5 2.0 1e-05 3.0 0.30000000000000004",
    ],
    ["{{ 'x' ~ flag ~ nothing ~ absent ~ 1 }}", "xTrueNone1"],
    ["{{ nothing | string }}{{ flag | string }}{{ nothing | trim }}", "NoneTrueNone"],
    ["{% set x = none %}{% if false %}x{% endif %}{# c #}|{{ x }}", "|None"],
    ["{{ nothing.x }}{{ dict.absent }}{{ list[99] }}|", "|"],
  ])("prints as Python: %j", (source, expected) => {
    expect(render(source, things)).toBe(expected);
  });

  it.each([
    ["{{ ['a', none, true, 1.5, ['q']] | join(', ') }}", "a, None, True, 1.5, ['q']"],
    ["{{ 'abc' | join('-') }} {{ [1, 2] | join(d='+') }} {{ [1, 2] | join }}", "a-b-c 1+2 12"],
    ["{{ 'a-b--c'.split('-') }} {{ 'a-b--c'.split('-', 1) }}", "['a', 'b', '', 'c'] ['a', 'b--c']"],
    ["{{ 'a-b-c'.replace('-', '+', 1) }} {{ 'abc' | replace('', '.') }}", "a+b-c .a.b.c."],
    ["{% filter replace('a', 'bb') %}banana{% endfilter %}", "bbbnbbnbb"],
    ["{{ 'a\nb\n\nc' | indent(width=2) }}", "a\n  b\n\n  c"],
    ["{{ '-' in 'a-b' }} {{ 'z' not in 'a-b' }} {{ 'a' in ['a'] }}", "True True True"],
    [
      "{{ 'hELLO wORLD' | capitalize }} {{ 'hELLO'.capitalize() }} {{ '\u00e9LAN' | capitalize }} {{ '\u00dfx' | capitalize }}",
      "Hello world Hello \u00c9lan Ssx",
    ],
    [
      "{{ '\u00e9lan it\\'s aB-cD (eF [gH <kL' | title }} {{ 'a\u00a0b\ufeffc\u0085d' | title }} {{ '\u00dfx' | title }}",
      "\u00c9lan It's Ab-Cd (Ef [Gh <Kl A\u00a0B\ufeffc\u0085D SSx",
    ],
    [
      "{{ '\u00e9lan it\\'s aB-cD 3rd'.title() }} {{ '\u0391\u03a3'.title() }} {{ '\u0391\u03a3' | title }}",
      "\u00c9lan It'S Ab-Cd 3Rd \u0391\u03c2 \u0391\u03c3",
    ],
    ["{{ 'a' + 'b' }} {{ 1 + 2.5 }} {{ [1] + ['a'] }} {{ 'a' ~ 1 ~ ['b'] }}", "ab 3.5 [1, 'a'] a1['b']"],
  ])("handles text as Python: %j", (source, expected) => {
    expect(render(source)).toBe(expected);
  });

  it.each([
    ["{{ x | length }} {{ x[0] }} {{ x[1:3] }} {{ x[2] }}", "4 \u{1f642} \u{1f642}a a"],
    ["{{ x[-1] }} {{ x[-4] }} {{ x[4] }}{{ x[-5] }}|", "b \u{1f642} |"],
  ])("counts characters as Python: %j", (source, expected) => {
    expect(render(source, { x: "\u{1f642}\u{1f642}ab" })).toBe(expected);
  });

  it.each([
    ["{{ (0-7) % 3 }} {{ 7 % (0-3) }} {{ (0-6) % 3 }} {{ 7.5 % (0-2) }} {{ 6.0 % 3 }}", "2 -2 0 -0.5 0.0"],
    ["{{ (0-7) // 2 }} {{ 7 // (0-2) }} {{ (0-7.5) // 2 }} {{ 5 / 2 }}", "-4 -4 -4.0 2.5"],
  ])("divides as Python: %j", (source, expected) => {
    expect(render(source)).toBe(expected);
  });

  it.each([
    ["1 == '1'", "False"],
    ["1 == 1.0 and true == 1 and 0 == false", "True"],
    ["none == false or '' == false or none == absent", "False"],
    ["[1, [2]] == [1, [2]] and {'a': [1]} == {'a': [1]}", "True"],
    ["[1, 2] == [2, 1] or {'a': 1} == {'b': 1} or [1, 2] == (1, 2)", "False"],
    ["[1] != [1] or {'a': 1} != {'a': 1}", "False"],
    ["none in [1, none] and none not in [1] and 1 in [true] and [1] in [[1]]", "True"],
    ["none in [1] or absent in [1] or '1' in [1] or 1 in [] or none in {'a': 1} or 1 in {'a': 1}", "False"],
  ])("compares as Python: %j", (source, expected) => {
    expect(render(`{{ ${source} }}`)).toBe(expected);
  });

  it.each([
    ["{% for i in [1,2,3] %}<{{ i }}>{% if i == 2 %}{% break %}{% endif %}{% endfor %}", "<1><2>"],
    ["{% for i in [1,2,3] %}{{ i }}{% if i == 2 %}{% continue %}{% endif %}.{% endfor %}", "1.23."],
    [
      "{% for i in [1,2] %}{% if i %}a{% if i == 1 %}b{% continue %}{% endif %}c{% endif %}d{% endfor %}",
      "abacd",
    ],
    ["{% for i in [1,2,3] if i > 1 %}{{ loop.index }}{% continue %}{% endfor %}", "12"],
    ["{% for i in [1,2] %}<{% for j in [1,2] %}{{ j }}{% break %}{% endfor %}>{% endfor %}", "<1><1>"],
    ["{% for i in [1,2] %}<{% for j in [] %}{% else %}no{% break %}{% endfor %}>{% endfor %}", "<no"],
    [
      "{% for i in [1,2] %}<{% for j in [1] %}x{% continue %}{% else %}no{% break %}{% endfor %}>{% endfor %}",
      "<xno",
    ],
    ["{% for i in [1,2] %}a{% break %}{% else %}b{% endfor %}", "ab"],
    ["{% for i in [1,2] %}a{% set x %}b{% break %}{% endset %}c{% endfor %}|{{ x }}", "a|"],
    ["{% for i in [1,2] %}a{% filter upper %}b{% continue %}{% endfilter %}c{% endfor %}", "aa"],
    [
      "{% macro m(n) %}{% for i in range(9) %}{{ i }}{% if i == n %}{% break %}{% endif %}{% endfor %}{{ caller() }}{% endmacro %}" +
        "{% for k in [1,2] %}{% call m(k) %}!{% for z in [1,2] %}z{% break %}{% endfor %}{% endcall %}{% endfor %}",
      "01!z012!z",
    ],
  ])("leaves loops as Python: %j", (source, expected) => {
    expect(render(source)).toBe(expected);
  });

  it.each([
    ["{{ absent.x }}", "absent is undefined, and so has no x"],
    ["{{ messages[0].nope.more }}", "nope is undefined, and so has no more"],
    ["{{ absent | tojson }}", "an undefined value is not JSON"],
    ["{{ {'a': messages[0].nope} | tojson }}", "an undefined value is not JSON"],
    ["{{ 'a' + 1 }}", "+ takes two texts, two lists or two numbers, not StringValue and IntegerValue"],
    ["{{ 1 + 'a' }}", "not IntegerValue and StringValue"],
    ["{{ 'a' + [{'type': 'text'}] }}", "not StringValue and ArrayValue"],
    ["{{ [1] + 'a' }}", "not ArrayValue and StringValue"],
    ["{{ [1] + (1, 2) }}", "not ArrayValue and TupleValue"],
    ["{{ 1 / 0 }}", "/: division by zero"],
    ["{{ 1.5 % 0 }}", "%: division by zero"],
    ["{{ none in 'a' }}", "null"],
  ])("refuses what Python refuses: %j", (source, message) => {
    expect(() => render(source)).toThrow(
      expect.objectContaining({ code: "TEMPLATE_ERROR", message: expect.stringContaining(message) }),
    );
  });

  it("handles loops, macros, namespaces and range", () => {
    expect(
      render("{% for i in range(1, 6, 2) %}{{ i }}{% endfor %}{% for i in range(2) %}{{ i }}{% endfor %}"),
    ).toBe("13501");
    expect(render("{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}")).toBe("321");
    expect(render("{% macro m(a) %}<{{ a.strip('-') }}>{% endmacro %}{{ m('-x-') }}")).toBe("<x>");
    expect(render("{% set ns = namespace(n=1) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}")).toBe("2");
  });
});

describe("the variables", () => {
  it("are the documented ones: tools is none, enable_thinking is absent unless given", () => {
    const source =
      "{{ tools is none }} {{ add_generation_prompt }} {{ enable_thinking is defined }} {{ bos_token is defined }}";
    expect(render(source)).toBe("True False False False");
    const options = { tools: [{ type: "function" }], addGenerationPrompt: true, enableThinking: false };
    expect(render(source, options)).toBe("False True True False");
    expect(
      new ChatTemplate("{{ bos_token }}{{ eos_token }}").render(
        hi,
        { bos_token: "B" },
        { bos_token: "b", eos_token: "e" },
      ),
    ).toBe("Be");
  });

  it("pass through, but never replace the conversation or the options", () => {
    expect(
      render("{{ city }}{{ undefined_one is defined }}", { city: "Bern", undefined_one: undefined }),
    ).toBe("BernFalse");
    for (const name of ["messages", "add_generation_prompt", "enable_thinking", "chat_template"])
      expect(() => render("x", { [name]: [] }), name).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    // The language's words stay what they are.
    expect(render("{{ true }}{{ None is none }}", { true: false, None: 1 })).toBe("TrueTrue");
    expect(render("{{ range }}{{ namespace }}", { range: "r", namespace: "n" })).toBe("rn");
    expect(render("{{ x.__proto__ is defined }}{{ x.constructor is defined }}", { x: {} })).toBe(
      "FalseFalse",
    );
  });

  it("are not options misspelt", () => {
    const misspelt = {
      addGenerationPrompt: ["addGenerationPromt", "AddGenerationPrompt", "add_generation_promt"],
      enableThinking: ["enableThinkin", "enable_thinkng", "enabelThinking"],
      chatTemplate: ["chatTemplat"],
      tools: ["tool", "Tools", "toolz"],
    };
    for (const [option, names] of Object.entries(misspelt))
      for (const name of names) {
        const message = `Expected a known option in chat template options but received '${name}': did you mean ${option}?`;
        expect(() => render("x", { [name]: true })).toThrow(message);
        expect(render("x", { [name]: undefined })).toBe("x");
      }
    for (const name of ["rules", "thinking", "template", "tool_choice", "generation_prompt", "docs"])
      expect(render(`{{ ${name} }}`, { [name]: "kept" })).toBe("kept");
  });

  it("drop keys that are undefined, as JSON.stringify does", () => {
    expect(render("{{ tools | tojson }}", { tools: [{ name: "f", description: undefined }] })).toBe(
      '[{"name": "f"}]',
    );
  });
});

describe("a caller's mistake", () => {
  it.each([
    [null],
    [[]],
    ["hi"],
    [["hi"]],
    [[null]],
    [[{ content: "x" }]],
    [[{ role: 1, content: "x" }]],
    [[{ role: "user", content: 5 }]],
    [[{ role: "user", content: {} }]],
    [[{ role: "assistant", tool_calls: {} }]],
    [[{ role: "assistant", tool_calls: [{}] }]],
    [[{ role: "assistant", tool_calls: [{ function: { arguments: {} } }] }]],
    [[{ role: "user", content: "x", extra: () => 1 }]],
    [[{ role: "user", content: "x", extra: new Map() }]],
    [[{ role: "user", content: "x", extra: 1n }]],
    [[{ role: "user", content: "x", extra: Number.NaN }]],
  ])("in the messages is refused: %s", (messages) => {
    expect(() => render("x", {}, messages as ChatMessage[])).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("is named with its path", () => {
    const messages = [...hi, { role: "user", content: "x", a: [{ b: () => 1 }] }];
    expect(() => render("x", {}, messages)).toThrow(
      "Expected a JSON value for messages[1].a[0].b but received a function",
    );
  });

  it("in the options is refused", () => {
    const bad = [
      { tools: {} },
      { tools: ["f"] },
      { addGenerationPrompt: 1 },
      { enableThinking: "yes" },
      { x: new Date() },
    ];
    for (const options of bad)
      expect(() => render("x", options as unknown as ChatTemplateOptions)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    expect(() => render("x", null as unknown as ChatTemplateOptions)).toThrow(/options/);
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    expect(() => render("x", { cyclic })).toThrow(
      /^Expected at most 200 levels of nesting for .{1,200} but received/,
    );
  });

  it("is not: content that is null, absent or parts; calls bare or wrapped", () => {
    const messages: ChatMessage[] = [
      { role: "user", content: null },
      { role: "user" },
      { role: "user", content: [{ type: "text", text: "part" }] },
      { role: "assistant", tool_calls: [{ name: "f", arguments: {} }] },
      { role: "assistant", tool_calls: [{ type: "function", function: { name: "f", arguments: "{}" } }] },
    ];
    expect(render("{% for m in messages %}{{ m.role[0] }}{% endfor %}", {}, messages)).toBe("uuuaa");
  });
});

describe("a template's mistake is a TEMPLATE_ERROR with its cause", () => {
  it.each([
    ["{% if %}", /does not parse/],
    ["{{ 'open", /does not parse/],
    ["{{ raise_exception('No user query found.') }}", /failed: No user query found\./],
    ["{{ nothing.at.all() }}", /failed/],
    ["{{ 1 + none }}", /failed/],
    [`{{ ${"(".repeat(50_000)}1${")".repeat(50_000)} }}`, /does not parse/],
    ["{% for i in range(1000000000000) %}{% endfor %}", /range\(\) of 1000000000000/],
    [
      "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
      /failed/,
    ],
    [
      "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
      /a list of|steps/,
    ],
    ["{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", /failed/],
    [
      "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
      /more than/,
    ],
    [
      "{% for i in range(100000) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}",
      /steps|5000 ms/,
    ],
  ])(
    "%#: %.60s",
    (source, message) => {
      let error: unknown;
      try {
        render(source);
      } catch (caught) {
        error = caught;
      }
      expect(error).toMatchObject({ code: "TEMPLATE_ERROR", message: expect.stringMatching(message) });
      expect((error as Error).cause).toBeDefined();
    },
    60_000,
  );
});

/** What each would take without limits is between minutes and for ever. */
const CLOCK_MS = 5_000;
it.each<[string, ChatMessage[]?]>([
  ["{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}"],
  ["{% for i in range(2000) %}{{ range(100000) | sort | length }}{% endfor %}"],
  ["{% for i in range(2000) %}{% set x = range(1000000)[::-1] %}{% endfor %}"],
  ["{% for i in range(1000000) %}{{ messages[0].content|replace('x','y') }}...{% endfor %}", text(2 ** 16)],
  ["{% for i in range(1000000) %}{{ messages | tojson | length }}{% endfor %}", text(2 ** 20)],
  ["{{ messages[0].content.replace('', messages[0].content) }}", text(100_000)],
  ["{% set f = messages[0].content.replace %}{{ f('x', messages[0].content) }}", text(100_000)],
  ["{{ range(1000) | join(messages[0].content) }}", text(100_000)],
  ["{% filter indent(500000000) %}a\nb{% endfilter %}"],
  [`${NESTED}{{ n.x }}`],
  [`${NESTED}{{ n.x == n.x }}`],
  [`${NESTED}{{ 'a' ~ n.x }}`],
  ["{{ messages[1].content in messages[0].content }}", search],
  ["{{ messages[0].content.split(messages[1].content) }}", search],
  [" ".repeat(100_000)],
])("is stopped, not waited for: %.100s", { timeout: 60_000 }, (source, messages = hi) => {
  const start = performance.now();
  expect(() => render(source, {}, messages)).toThrow(
    expect.objectContaining({ code: "TEMPLATE_ERROR", message: expect.stringMatching(/more than/) }),
  );
  expect(performance.now() - start).toBeLessThan(2 * CLOCK_MS);
});

it("renders what a long conversation needs", { timeout: 60_000 }, () => {
  const messages = Array.from({ length: 2_000 }, () => text(500)[0]!);
  const source = "{% for m in messages %}{{ m.content.strip().split('y')[-1] }}{% endfor %}";
  expect(render(source, {}, messages)).toBe("x".repeat(1_000_000));
});

it("refuses more than a conversation can be, before it is rendered", () => {
  const many = Array.from({ length: 100_000 }, () => hi[0]!);
  expect(() => render("x", {}, many)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(() => render("x", {}, text(2 ** 24 + 1))).toThrow(
    /characters of text in all for messages\[0\].content/,
  );
});
