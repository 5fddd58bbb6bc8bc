/**
 * Encoding off the main thread: the same ids, an event loop that keeps turning, a process that ends by itself, and a
 * typed error whatever happens to the worker. The worker is a compiled file, so these import from dist/.
 */
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import type { AsyncEncoder as Encoder } from "../../src/tokenizer/async-encoder.js";
import type { Tokenizer as TokenizerClass } from "../../src/tokenizer/tokenizer.js";
import { describeIf } from "../support/shared.js";
import { temporaryDirectory, tinyTokenizer } from "./fixtures.js";

const dist = new URL("../../dist/tokenizer/", import.meta.url);
const built = existsSync(new URL("encode-worker.js", dist)) && existsSync(new URL("async-encoder.js", dist));

describeIf(built, "dist/ is not built (npm run build:ts)", "AsyncEncoder", () => {
  async function load(directory = temporaryDirectory({ "tokenizer.json": tinyTokenizer() })) {
    const { AsyncEncoder } = (await import(new URL("async-encoder.js", dist).href)) as {
      AsyncEncoder: typeof Encoder;
    };
    const { Tokenizer } = (await import(new URL("tokenizer.js", dist).href)) as {
      Tokenizer: typeof TokenizerClass;
    };
    const tokenizer = await Tokenizer.fromDirectory(directory);
    return { tokenizer, encoder: new AsyncEncoder(tokenizer, directory), directory };
  }

  const long = (n: number) => "hello \u00e9 aaaa <|end|> ".repeat(n / 20);

  it("gives encode's ids, for short and long texts, several at once", async () => {
    const { tokenizer, encoder } = await load();
    const texts = ["", "hello", long(5_000), long(50_000), long(10_000), "\u{1f600}".repeat(10_000)];
    const encoded = await Promise.all(texts.map((text) => encoder.encodeAsync(text)));
    expect(encoded).toEqual(texts.map((text) => Int32Array.from(tokenizer.encode(text))));
    await encoder.close();
  });

  it("encodes so much of one turn on this thread, and the rest in the worker", async () => {
    const { tokenizer, encoder } = await load();
    const texts = Array.from({ length: 40 }, (_, i) => `${i} ${long(4_000)}`);
    const settled: number[] = [];
    const ids = await Promise.all(
      texts.map(async (text, i) => {
        const encoded = await encoder.encodeAsync(text);
        settled.push(i);
        return encoded;
      }),
    );
    expect(ids).toEqual(texts.map((text) => Int32Array.from(tokenizer.encode(text))));
    expect(settled).toEqual(texts.map((_, i) => i));
    await encoder.close();
  });

  it("keeps the event loop turning during 1 MB", async () => {
    const { encoder } = await load();
    await encoder.encodeAsync(long(5_000)); // start the worker
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    const start = performance.now();
    const ids = await encoder.encodeAsync("a".repeat(1_000_000));
    const took = performance.now() - start;
    clearInterval(timer);
    expect(ids).toHaveLength(250_000);
    expect(took).toBeGreaterThan(20); // else this test shows nothing
    expect(longest).toBeLessThan(Math.max(250, took / 2)); // 50 ms is the aim; CI's cores are shared
    await encoder.close();
  });

  it("refuses what encode refuses, as a rejection", async () => {
    const { encoder } = await load();
    await expect(encoder.encodeAsync(5 as unknown as string)).rejects.toThrow(/Expected a string/);
    await expect(encoder.encodeAsync("\ud800")).rejects.toThrow(/index 0/);
    await expect(encoder.encodeAsync(`${long(5_000)}\ud800`)).rejects.toThrow(/lone surrogate/);
    await encoder.close();
  });

  it("rejects what is pending when it is closed, and everything after", async () => {
    const { encoder } = await load();
    const pending = expect(encoder.encodeAsync(long(500_000))).rejects.toMatchObject({
      code: "ENGINE_CLOSED",
    });
    await encoder.close();
    await pending;
    await encoder.close();
    await expect(encoder.encodeAsync("a")).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });

  it("does not encode with a tokenizer that changed on disk", async () => {
    const { encoder, directory } = await load();
    const other = tinyTokenizer();
    other.version = "2.0";
    writeFileSync(join(directory, "tokenizer.json"), JSON.stringify(other));
    for (let i = 0; i < 2; ++i)
      await expect(encoder.encodeAsync(long(5_000))).rejects.toMatchObject({
        code: "INVALID_CHECKPOINT",
        message: expect.stringContaining("has changed"),
      });
    await encoder.close();
  });

  /** Runs a script with `encoder`, a long `text` and its `expected` ids in a process of its own; gives what it printed. */
  async function inProcess(body: string): Promise<string> {
    const directory = temporaryDirectory({ "tokenizer.json": tinyTokenizer() });
    const script = `
      import { AsyncEncoder } from ${JSON.stringify(new URL("async-encoder.js", dist).href)};
      import { Tokenizer } from ${JSON.stringify(new URL("tokenizer.js", dist).href)};
      const tokenizer = await Tokenizer.fromDirectory(${JSON.stringify(directory)});
      const encoder = new AsyncEncoder(tokenizer, ${JSON.stringify(directory)});
      const text = "hello a ".repeat(50_000);
      const expected = String(tokenizer.encode(text));
      ${body}`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      timeout: 20_000,
      cwd: fileURLToPath(dist),
    });
    return stdout.trim();
  }

  it("lets the process end with an idle worker, and keeps it alive while a text is pending", async () => {
    // No close(): the process must outlive the requests and not the idle worker (else the timeout kills it). Two of
    // them, one after the other: the worker is idle in between, and must count again.
    const out = await inProcess(`
      await encoder.encodeAsync(text);
      encoder.encodeAsync(text).then((ids) => console.log(String(ids) === expected));`);
    expect(out).toBe("true");
  });

  it("rejects with a typed error when the worker dies, and starts another", async () => {
    const out = await inProcess(`
      import { Worker } from "node:worker_threads";
      const original = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (message) { this.terminate(); return original.call(this, message); };
      await encoder.encodeAsync(text).catch((e) => console.log(e.code, e.name));
      Worker.prototype.postMessage = original;
      console.log(String(await encoder.encodeAsync(text)) === expected);`);
    expect(out).toBe("ENGINE_FAILED LockstepError\ntrue");
  });
});
