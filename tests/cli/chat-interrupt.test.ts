/** Ctrl-C during `lockstep chat`: it stops the answer and not the program. */
import { spawn, spawnSync } from "node:child_process";
import { Engine } from "lockstep";
import { expect, it, vi } from "vitest";
import { describeIf } from "../support/shared.js";
import { MAIN, MODEL } from "./run-cli.js";
import { Talk } from "./talk.js";

vi.setConfig({ testTimeout: 60_000 });

const ENDLESS = ["chat", MODEL, "--ignore-eos"];
const REQUEST = "Please switch off the bedroom light.";
const STOPPED = "(stopped)\n";

/** Says something and interrupts the answer once it has begun. */
async function stopAnAnswer(talk: Talk): Promise<void> {
  const before = { ...talk };
  talk.say(REQUEST);
  await talk.until(({ stdout }) => stdout.length > before.stdout.length);
  talk.interrupt();
  await talk.until(({ stderr }) => stderr.slice(before.stderr.length).endsWith(STOPPED));
  expect(talk.stdout).toMatch(/\n$/);
}

it("stops one answer after the other, and ends with the input", async () => {
  const talk = new Talk(ENDLESS);
  await stopAnAnswer(talk);
  await stopAnAnswer(talk);
  talk.child.stdin.end();
  expect(await talk.ended).toMatchObject({ code: 0, stderr: STOPPED + STOPPED });
});

it("keeps what exists of a stopped answer in the conversation", async () => {
  const talk = new Talk(ENDLESS);
  await stopAnAnswer(talk);
  const first = talk.stdout.slice(0, -1);
  await stopAnAnswer(talk);
  const second = talk.stdout.slice(first.length + 1, -1);
  talk.child.stdin.end();
  await talk.ended;

  const engine = await Engine.load(MODEL);
  try {
    const user = { role: "user", content: REQUEST };
    const messages = [user, { role: "assistant", content: first }, user];
    const { text } = await engine.generate({ messages }, { ignoreEos: true });
    expect(text.startsWith(second)).toBe(true);
  } finally {
    await engine.close();
  }
});

it("asks for a second one at the prompt, also after one that stopped an answer", async () => {
  const talk = new Talk(ENDLESS);
  const asked = () => talk.stderr.split("Ctrl-C again").length - 1;
  talk.say("/help"); // its answer tells that the prompt has come
  await talk.until(({ stderr }) => stderr.includes("No command"));
  talk.interrupt();
  await talk.until(() => asked() === 1);
  await stopAnAnswer(talk); // and it goes on
  talk.interrupt();
  await talk.until(() => asked() === 2);
  talk.interrupt();
  expect((await talk.ended).code).toBe(0);
});

const hasScript = spawnSync("script", ["--version"]).stdout?.includes("util-linux") ?? false;

describeIf(hasScript, "there is no script(1) of util-linux to make a terminal", "on a terminal", () => {
  /** Types `keys`, each when the screen so far matches its pattern. */
  async function type(
    args: string[],
    keys: [RegExp, string][],
  ): Promise<{ code: number | null; screen: string }> {
    // exec: a shell that waits for the program would be interrupted with it and exit as 130.
    const words = [process.execPath, MAIN, ...args].map((word) => `'${word}'`);
    const child = spawn("script", ["-qec", `exec ${words.join(" ")}`, "/dev/null"], { stdio: "pipe" });
    let screen = "";
    let from = 0;
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      screen += piece;
      const [pattern, text] = keys[0] ?? [];
      if (pattern?.test(screen.slice(from)) !== true) return;
      from = screen.length;
      keys.shift();
      child.stdin.write(text!);
    });
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { code, screen };
  }

  it("shows a prompt, takes several pasted lines, stops at Ctrl-C and ends at Ctrl-D", async () => {
    const { code, screen } = await type(
      [...ENDLESS, "--max-tokens", "1900"],
      [
        [/> /, "/one\r/two\r"],
        [/No command \/two[^>]*> /, "Hello\r"],
        [/Hello[\s\S]*\w+/, "\u0003"],
        [/\(stopped\)[\s\S]*> /, "\u0004"],
      ],
    );
    expect(code).toBe(0);
    expect(screen).toMatch(/No command \/one[\s\S]*No command \/two/);
  });

  it("ends at Ctrl-C twice at the prompt", async () => {
    const { code } = await type(ENDLESS, [
      [/> /, "\u0003"],
      [/Ctrl-C again[\s\S]*> /, "\u0003"],
    ]);
    expect(code).toBe(0);
  });
});
