/**
 * Rendering off the main thread: the same text, an event loop that keeps turning whatever the template does, and a typed
 * error. The worker is a compiled file, so these import from dist/.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it, vi } from "vitest";
import type { AsyncRenderer as Renderer } from "../../src/chat/async-renderer.js";
import type * as Template from "../../src/chat/template.js";
import type { ChatMessage } from "../../src/chat/types.js";
import { describeIf } from "../support/shared.js";

const dist = new URL("../../dist/chat/", import.meta.url);
const built = existsSync(new URL("async-renderer.js", dist)) && existsSync(new URL("render-worker.js", dist));

/** Far below the clock of a template, above what shared cores may add to some milliseconds. */
const MAX_BLOCK_MS = 250;

const hi: ChatMessage[] = [{ role: "user", content: "hi" }];
const conversation = (count: number, length: number): ChatMessage[] =>
  Array.from({ length: count }, (_, i) => ({
    role: i % 2 ? "assistant" : "user",
    content: "x".repeat(length),
  }));
const PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}";
const NESTED =
  "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}";

describeIf(built, "dist/ is not built (npm run build:ts)", "AsyncRenderer", () => {
  async function load() {
    const { AsyncRenderer } = (await import(new URL("async-renderer.js", dist).href)) as {
      AsyncRenderer: typeof Renderer;
    };
    const { ChatTemplate, templateVariables, FULL } = (await import(
      new URL("template.js", dist).href
    )) as typeof Template;
    const renderer = new AsyncRenderer();
    const render = (source: string, messages = hi) =>
      renderer.render(new ChatTemplate(source), templateVariables(messages, {}, {}));
    const expected = (source: string, messages = hi) =>
      new ChatTemplate(source).renderVariables(templateVariables(messages, {}, {}).values, FULL);
    return { renderer, render, expected };
  }

  /** What `body` gives or throws, and the longest time between two turns of the event loop meanwhile. */
  async function longestBlock(body: () => unknown): Promise<{ result: unknown; longest: number }> {
    let longest = 0;
    let last = performance.now();
    const lap = () => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    };
    const timer = setInterval(lap, 1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    longest = 0;
    let result: unknown;
    try {
      result = await body();
    } catch (error) {
      result = error;
    }
    lap();
    clearInterval(timer);
    return { result, longest };
  }

  it("gives the same text for a short conversation and for long ones, and the same errors", async () => {
    const { renderer, render, expected } = await load();
    expect(await render(PLAIN)).toBe("<user>hi");
    const longs = [conversation(2_000, 10), conversation(3, 100_000), conversation(2_000, 500)]; // all beyond BRIEF_SIZE
    const texts = longs.map((messages) => render(PLAIN, messages));
    expect(texts.every((text) => text instanceof Promise)).toBe(true);
    expect(await Promise.all(texts)).toEqual(longs.map((messages) => expected(PLAIN, messages)));
    for (const messages of [hi, longs[0]])
      await expect((async () => render("{{ raise_exception('no') }}", messages))()).rejects.toMatchObject({
        code: "TEMPLATE_ERROR",
        message: "The chat template failed: no",
      });
    await renderer.close();
  });

  it.each<[string, string, ChatMessage[]]>([
    ["4,000 messages", PLAIN, conversation(4_000, 20)],
    ["2,000 messages of 500 characters", PLAIN, conversation(2_000, 500)],
    ["one message of a million characters", PLAIN, conversation(1, 1_000_000)],
  ])("keeps the event loop turning during %s", async (_, source, messages) => {
    const { renderer, render, expected } = await load();
    const { result, longest } = await longestBlock(() => render(source, messages));
    expect(result).toBe(expected(source, messages));
    expect(longest).toBeLessThan(MAX_BLOCK_MS);
    await renderer.close();
  });

  it.each<[string, string, ChatMessage[]]>([
    ["empty loops", "{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}", hi],
    [
      "output that only grows",
      "{% for i in range(1000000) %}{{ messages[0].content|replace('x','y') }}...{% endfor %}",
      conversation(1, 10_000),
    ],
    [
      "JSON of big messages",
      "{% for i in range(1000000) %}{{ messages | tojson | length }}{% endfor %}",
      conversation(100, 10_000),
    ],
    ["sorting", "{% for i in range(1000000) %}{{ range(1000) | sort | length }}{% endfor %}", hi],
    ["a list of lists of lists", NESTED, hi],
    ["white space that the parser walks again and again", " ".repeat(100_000), hi],
    [
      "a text that grows by its square",
      "{{ messages[0].content.replace('', messages[0].content) }}",
      conversation(1, 8_000),
    ],
    ["a wide indent", "{{ 'a\nb' | indent(500000000) }}", hi],
    [
      "a search that cannot be interrupted",
      "{{ messages[1].content in messages[0].content }}",
      [
        { role: "user", content: "a".repeat(2 ** 20) },
        { role: "user", content: `aaaaaaaab${"a".repeat(2 ** 19)}` },
      ],
    ],
    [
      "lists that fill the memory",
      "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = n.x + [range(100000)] %}{% endfor %}",
      hi,
    ],
  ])(
    "ends in a TEMPLATE_ERROR, while the event loop turns: %s",
    { timeout: 60_000 },
    async (_, source, messages) => {
      const { renderer, render } = await load();
      const { result, longest } = await longestBlock(() => render(source, messages));
      expect(result).toMatchObject({ code: "TEMPLATE_ERROR", message: expect.stringMatching(/more than/) });
      expect(longest).toBeLessThan(MAX_BLOCK_MS);
      await renderer.close();
    },
  );

  it("goes on with others after a template that was stopped", { timeout: 60_000 }, async () => {
    const { renderer, render, expected } = await load();
    const stopped = expect(render(NESTED)).rejects.toMatchObject({ code: "TEMPLATE_ERROR" });
    const long = conversation(500, 100);
    expect(await render(PLAIN, long)).toBe(expected(PLAIN, long));
    await stopped;
    await renderer.close();
  });

  it("renders so many of one turn on this thread, and the rest in the worker", async () => {
    const { renderer, render } = await load();
    const texts = Array.from({ length: 2_000 }, () => render(PLAIN));
    expect(texts.at(-1)).toBeInstanceOf(Promise); // all of them here would take 60 ms
    expect(new Set(await Promise.all(texts))).toEqual(new Set(["<user>hi"]));
    await renderer.close();
  });

  it("ends a worker whose own clock does not stop the template, and starts another", async () => {
    const { renderer, render, expected } = await load();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const stopped = expect(render(NESTED)).rejects.toMatchObject({
        code: "TEMPLATE_ERROR",
        message: expect.stringContaining("more than 10000 ms"),
      });
      const long = conversation(500, 100);
      const next = render(PLAIN, long);
      vi.advanceTimersByTime(10_000);
      await stopped;
      expect(await next).toBe(expected(PLAIN, long));
    } finally {
      vi.useRealTimers();
    }
    await renderer.close();
  });

  it("rejects what is pending when it is closed, and everything after", async () => {
    const { renderer, render } = await load();
    const pending = [render(NESTED), render(PLAIN, conversation(1_000, 20))];
    const rejected = Promise.all(
      pending.map((text) => expect(text).rejects.toMatchObject({ code: "ENGINE_CLOSED" })),
    );
    await renderer.close();
    await rejected;
    await renderer.close();
    expect(() => render(PLAIN)).toThrow(expect.objectContaining({ code: "ENGINE_CLOSED" }));
  });

  /** Runs a script with `renderer` and a `call` of it in a process of its own; gives what it printed. */
  async function inProcess(body: string): Promise<string> {
    const script = `
      import { AsyncRenderer } from ${JSON.stringify(new URL("async-renderer.js", dist).href)};
      import { ChatTemplate, templateVariables } from ${JSON.stringify(new URL("template.js", dist).href)};
      const renderer = new AsyncRenderer();
      const messages = Array(5_000).fill({ role: "user", content: "hello" });
      const call = () => renderer.render(new ChatTemplate("{{ messages | length }}"), templateVariables(messages, {}, {}));
      ${body}`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      timeout: 20_000,
      cwd: fileURLToPath(dist),
    });
    return stdout.trim();
  }

  it("lets the process end with an idle worker, and keeps it alive while a conversation is pending", async () => {
    expect(await inProcess("await call(); call().then((text) => console.log(text));")).toBe("5000");
  });

  it("rejects with a typed error when the worker dies, and starts another for the next", async () => {
    const out = await inProcess(`
      import { Worker } from "node:worker_threads";
      const original = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (message) { this.terminate(); Worker.prototype.postMessage = original; };
      const [first, second] = await Promise.allSettled([call(), call()]);
      console.log(first.reason.code, second.value);`);
    expect(out).toBe("ENGINE_FAILED 5000");
  });
});
