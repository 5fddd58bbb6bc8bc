// Who plays the user: an endpoint that misbehaves on purpose, an engine, recordings. No network but loopback.
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { playAttempt, runEval } from "../../../src/eval/index.js";
import { Tau2Data } from "../../../src/eval/tau2/data.js";
import { readTask } from "../../../src/eval/tau2/tasks.js";
import { tau2Domain } from "../../../src/eval/tau2/tau2.js";
import { engineUser } from "../../../src/eval/tau2/user/engine.js";
import { type OpenAiUserOptions, openAiUser } from "../../../src/eval/tau2/user/openai.js";
import { userSystemPrompt } from "../../../src/eval/tau2/user/prompt.js";
import type { UserRole } from "../../../src/eval/tau2/user/user.js";
import { type Generation, LockstepError, type Prompt, type SamplingOptions } from "../../../src/index.js";
import { loads } from "../../../src/python/json.js";
import type { PyDict } from "../../../src/python/types.js";

const task = readTask(loads('{"id": "t", "user_scenario": {"instructions": "Ask."}}'));
const tool = { name: "look", description: "Looks.", parameters: new Map([["type", "object"]]) as PyDict };
const role = (over: Partial<UserRole> = {}): UserRole => ({
  ...{ domain: "telecom", task, systemPrompt: "play", tools: [tool], sample: 0, seed: 7 },
  ...over,
});

it("is told guidelines and scenario, each part indented, lines of white space alone as they are", () => {
  const scenario = loads(
    JSON.stringify({
      persona: "Calm.\n\nOld.",
      instructions: {
        domain: "d",
        reason_for_call: "r",
        known_info: null,
        unknown_info: "u",
        task_instructions: "t1\n \nt2",
      },
    }),
  ) as PyDict;
  expect(userSystemPrompt("G\n", scenario)).toBe(
    "G\n\n\n<scenario>\nPersona:\n\tCalm.\n\n\tOld.\nInstructions:\n\tDomain: d\n\tReason for call:\n\t\tr\n\tUnknown info:\n\t\tu\n\tTask instructions:\n\t\tt1\n \n\t\tt2\n</scenario>",
  );
});

interface Asked {
  authorization: string | undefined;
  body: { model: string; temperature: number; messages: unknown[]; tools?: unknown[]; tool_choice?: string };
}

type Answer = (response: ServerResponse, asked: Asked) => void;

/** An endpoint that gives the answers one after the other, the last one for ever. */
async function endpoint(answers: Answer[], options: OpenAiUserOptions = {}) {
  const asked: Asked[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    let text = "";
    for await (const piece of request) text += piece;
    const one = { authorization: request.headers.authorization, body: JSON.parse(text) };
    answers[Math.min(asked.push(one), answers.length) - 1]!(response, one);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return {
    asked,
    user: openAiUser({ baseUrl, apiKey: "secret", maxRetries: 1, timeoutMs: 2000, ...options }),
  };
}

const json =
  (body: unknown, status = 200, headers = {}): Answer =>
  (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
const says = (message: unknown, usage: unknown = { prompt_tokens: 10, completion_tokens: 2 }) =>
  json({ choices: [{ message }], usage });
const calls = (name: string, args: unknown) =>
  says({
    role: "assistant",
    content: null,
    tool_calls: [{ id: "x", type: "function", function: { name, arguments: args } }],
  });
const soon = { "retry-after-ms": "1" };

describe("an endpoint", () => {
  it("gets the conversation from the user's side, and the tools", async () => {
    const { asked, user } = await endpoint([calls("look", '{"n": 1.0}'), says({ content: "I see" })], {
      ...{ model: "m", temperature: 0.5, price: { input: 1, output: 10 } },
    });
    const session = user.start(role());
    const reply = await session.reply({ text: "Hi!" });
    expect(reply.toolCalls).toEqual([{ name: "look", arguments: new Map([["n", 1]]) }]);
    const result = {
      role: "tool",
      id: "call_0",
      content: "nothing",
      requestor: "user",
      error: false,
    } as const;
    expect(await session.reply({ results: [result] })).toEqual({ text: "I see" });
    const { authorization, body } = asked[1]!;
    expect(authorization).toBe("Bearer secret");
    expect(body).toMatchObject({
      model: "m",
      temperature: 0.5,
      tool_choice: "auto",
      tools: [{ type: "function", function: { name: "look" } }],
    });
    const made = { id: "call_2_0", type: "function", function: { name: "look", arguments: '{"n": 1.0}' } };
    expect(body.messages).toEqual([
      { role: "system", content: "play" },
      { role: "user", content: "Hi!" },
      { role: "assistant", content: "", tool_calls: [made] },
      { role: "tool", content: "nothing", tool_call_id: "call_2_0" },
    ]);
    expect(session.usage).toEqual({
      user_requests: 2,
      user_prompt_tokens: 20,
      user_completion_tokens: 4,
      user_cost: 60e-6,
    });
  });

  it("gets no tools where users have none", async () => {
    const { asked, user } = await endpoint([says({ content: "a" })]);
    await user.start(role({ tools: [] })).reply({ text: "Hi!" });
    expect(asked[0]!.body).not.toHaveProperty("tools");
    expect(asked[0]!.body).not.toHaveProperty("tool_choice");
  });

  const cut: Answer = (response) => response.destroy();
  it.each<[string, Answer]>([
    ["429", json({ error: { message: "slow down" } }, 429, soon)],
    ["500", json("oops", 500, soon)],
    ["503", json("", 503, soon)],
    ["a cut connection", cut],
  ])("is asked again after %s", async (_what, first) => {
    const { asked, user } = await endpoint([first, says({ content: "back" })]);
    expect(await user.start(role()).reply({ text: "Hi!" })).toEqual({ text: "back" });
    expect(asked.length).toBe(2);
  });

  it.each<[string, Answer, RegExp, OpenAiUserOptions?]>([
    ["always 429", json({ error: { message: "slow down" } }, 429, soon), /429/],
    ["always 500", json("oops", 500, soon), /500/],
    ["401", json({ error: { message: "no such key" } }, 401), /no such key/],
    ["always cut connections", cut, /[Cc]onnection/, { maxRetries: 0 }],
    ["no answer in time", () => {}, /timed out/, { timeoutMs: 50, maxRetries: 0 }],
    ["what is no JSON", json("{"), /JSON/, { maxRetries: 0 }],
    ["JSON that is no answer", json("5"), /no message/],
    ["an answer without choices", json({ choices: [] }), /no message/],
    [
      "a call with arguments that are no JSON",
      calls("look", "{"),
      /the arguments of look are no JSON object: "{"/,
    ],
    [
      "a call with arguments that are no object",
      calls("look", "[1]"),
      /the arguments of look are no JSON object/,
    ],
    ["words that are no text", says({ content: [{ type: "text" }] }), /a message that is no text/],
    ["a call without a function", says({ tool_calls: [{ type: "function" }] }), /a call without a function/],
  ])("that gives %s fails the reply", async (_what, answer, message, options) => {
    const { user } = await endpoint([answer], options);
    await expect(user.start(role()).reply({ text: "Hi!" })).rejects.toThrow(message);
  });

  it("may count its tokens in any way: what is no number is none", async () => {
    const { user } = await endpoint([
      says({ content: "a" }, { prompt_tokens: "10", completion_tokens: null }),
    ]);
    const session = user.start(role());
    await session.reply({ text: "Hi!" });
    expect(session.usage).toEqual({ user_requests: 1, user_prompt_tokens: 0, user_completion_tokens: 0 });
  });

  it("may give an empty message: the conversation refuses it", async () => {
    const { user } = await endpoint([says({ content: "" })]);
    expect(await user.start(role()).reply({ text: "Hi!" })).toEqual({});
  });

  it("is not asked more at once than it is said to take", async () => {
    let now = 0;
    let most = 0;
    const slow: Answer = (response, asked) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now--;
        says({ content: "a" })(response, asked);
      }, 5);
    };
    const { user } = await endpoint([slow], { concurrency: 3 });
    await Promise.all(Array.from({ length: 12 }, () => user.start(role()).reply({ text: "Hi!" })));
    expect(most).toBe(3);
  });

  it.each<[OpenAiUserOptions, RegExp]>([
    [{ concurrency: 0 }, /an integer in \[1, 10000\] for concurrency/],
    [{ baseUrl: "localhost:8000" }, /a http or https URL for baseUrl but received 'localhost:8000'/],
    [{ baseUrl: "nowhere" }, /a http or https URL for baseUrl/],
    [{ maxRetries: -1 }, /for maxRetries/],
    [{ timeoutMs: 0 }, /for timeoutMs/],
    [{ temperature: 3 }, /for temperature/],
    [{ price: { input: 1 } as never }, /for price\.output/],
    [{ retries: 2 } as never, /'retries': did you mean maxRetries\?/],
  ])("is refused with %j", (options, message) => {
    expect(() => openAiUser({ apiKey: "secret", ...options })).toThrow(message);
  });

  it("needs a key", () => {
    vi.stubEnv("OPENAI_API_KEY", "");
    onTestFinished(() => void vi.unstubAllEnvs());
    expect(() => openAiUser({ baseUrl: "http://127.0.0.1:1" })).toThrow(/needs a key: set OPENAI_API_KEY/);
  });
});

describe("an engine", () => {
  function engine(texts: string[]) {
    const asked: { prompt: Prompt; sampling: SamplingOptions }[] = [];
    const generate = async (prompt: Prompt, sampling: SamplingOptions) => {
      const text = texts[asked.push({ prompt: structuredClone(prompt), sampling }) - 1]!;
      return { text, usage: { promptTokens: 5, completionTokens: 1, cachedTokens: 0 } } as Generation;
    };
    return { asked, engine: { generate } as never };
  }

  it("makes the calls that the model writes, and draws anew in each turn and sample", async () => {
    const { asked, engine: model } = engine([
      'a <tool_call>{"name": "look", "arguments": {"n": 1}}</tool_call>',
      "seen",
    ]);
    const session = engineUser({ engine: model, name: "m" }).start(role({ sample: 2 }));
    expect(await session.reply({ text: "Hi!" })).toEqual({
      text: "a",
      toolCalls: [{ name: "look", arguments: new Map([["n", 1n]]) }],
    });
    await session.reply({
      results: [{ role: "tool", id: "", content: "r", requestor: "user", error: false }],
    });
    expect(asked.map(({ sampling }) => sampling.sampleIndex)).toEqual([2048, 2049]);
    expect(asked[1]!.prompt).toMatchObject({
      enableThinking: false,
      tools: [{ function: { name: "look" } }],
    });
    expect((asked[1]!.prompt as { messages: unknown[] }).messages.at(-1)).toMatchObject({
      role: "tool",
      content: "r",
    });
    expect(session.usage).toMatchObject({ user_requests: 2, user_prompt_tokens: 10 });
  });

  it("gets bare functions for tools where a server had no parser, else OpenAI's form", async () => {
    const { asked, engine: model } = engine(["a", "b"]);
    for (const toolCalls of ["speech", "parsed"] as const)
      await engineUser({ engine: model, name: "m", toolCalls }).start(role()).reply({ text: "Hi!" });
    const bare = { description: "Looks.", name: "look", parameters: { type: "object" }, strict: false };
    const tools = asked.map(({ prompt }) => JSON.stringify((prompt as { tools: unknown }).tools)); // as a template shows them
    const { description, parameters } = bare;
    const full = [{ type: "function", function: { name: "look", description, parameters } }];
    expect(tools).toEqual([JSON.stringify([bare]), JSON.stringify(full)]);
  });

  it("is refused with options that cannot be", () => {
    const { engine: model } = engine([]);
    const user = (options: object) => () => engineUser({ engine: model, name: "m", ...options });
    expect(user({ temperature: -1 })).toThrow(/for temperature/);
    expect(user({ toolCalls: "spoken" })).toThrow(/'parsed' or 'speech' for toolCalls/);
  });

  it.each([
    ["a call that cannot be read", "parsed", "<tool_call>{</tool_call>"],
    ["any call, where a server had no parser", "speech", '<tool_call>{"name": "look"}</tool_call>'],
  ] as const)("leaves %s as words", async (_what, toolCalls, text) => {
    const { engine: model } = engine([text]);
    const session = engineUser({ engine: model, name: "m", toolCalls }).start(role());
    expect(await session.reply({ text: "Hi!" })).toEqual({ text });
  });
});

const shared = join(import.meta.dirname, "../../../../shared/tau2");

describe.skipIf(!existsSync(shared))("a run whose user fails (needs ../shared)", () => {
  it("leaves an attempt to the next run where the engine that plays the user has failed", async () => {
    const generate = async () => {
      throw new LockstepError("ENGINE_FAILED", "no more");
    };
    const data = new Tau2Data(shared);
    const user = engineUser({ engine: { generate }, name: "m" });
    const toolSchemas = join(shared, "golden");
    const domain = tau2Domain({ directory: shared, data, domain: "airline", toolSchemas, user });
    await expect(playAttempt({ generate }, domain, domain.tasks("train")[0]!)).rejects.toThrow("no more");
  });

  it("ends each attempt in its own status, and goes on", async () => {
    // In turn: words, then 401 for whoever asks next; the agent only talks.
    const refusal = json({ error: { message: "no such key", code: "ENGINE_FAILED" } }, 401); // its name, not an engine's
    const { user } = await endpoint([says({ content: "hello" }), says({ content: "hello" }), refusal]);
    const golden = join(shared, "golden");
    const data = new Tau2Data(shared);
    const domain = tau2Domain({ directory: shared, data, domain: "airline", toolSchemas: golden, user });
    const text = '<tool_call>{"name": "respond", "arguments": {"content": "and?"}}</tool_call>';
    const engine = {
      generate: async (prompt: Prompt) =>
        (Array.isArray(prompt)
          ? []
          : {
              text,
              tokens: [],
              finishReason: "stop",
              usage: { promptTokens: 1, completionTokens: 1, cachedTokens: 0 },
            }) as never,
    };
    const report = await runEval(engine, domain, {
      split: "train",
      maxTasksPerDomain: 4,
      concurrency: 1,
      model: "none",
    });
    expect(report.results.map(({ attempts }) => [attempts[0]!.status, attempts[0]!.steps])).toEqual([
      ["user_error", 2],
      ["user_error", 0],
      ["user_error", 0],
      ["user_error", 0],
    ]);
    expect(report.results[3]!.attempts[0]!.error).toContain("no such key");
    expect(report.usage?.user).toMatchObject({ user_requests: 2, user_prompt_tokens: 20 });
  });
});
