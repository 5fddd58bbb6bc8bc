/** One listener for all requests of an AbortSignal: whoever is still waiting hears of it. */
import { expect, it } from "vitest";
import { onAbort } from "../../src/signals.js";

it("forgets whoever asks for it, once, and nobody else", () => {
  const controller = new AbortController();
  const called: string[] = [];
  const forget = onAbort(controller.signal, () => called.push("first"));
  forget();
  onAbort(controller.signal, () => called.push("second"));
  forget(); // again: must not take the second one's listener away
  controller.abort();
  expect(called).toEqual(["second"]);
});
