/** What sampling options do to logits, written down plainly in float64: a second opinion for samplingDistribution. */
import type { SamplingOptions } from "lockstep";

export interface History {
  prompt: readonly number[];
  output: readonly number[];
}

/** Logits after penalties, bias and minTokens' ban of `stops`; before temperature. */
export function adjusted(
  logits: ArrayLike<number>,
  options: SamplingOptions,
  { prompt, output }: History,
  stops: readonly number[] = [],
): number[] {
  const values = Array.from(logits);
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, minTokens = 0 } = options;
  for (const token of new Set([...prompt, ...output])) {
    values[token] =
      values[token]! > 0 ? values[token]! / repetitionPenalty : values[token]! * repetitionPenalty;
    const count = output.filter((one) => one === token).length;
    if (count > 0) values[token]! -= frequencyPenalty * count + presencePenalty;
  }
  for (const [token, bias] of Object.entries(options.logitBias ?? {})) values[Number(token)]! += bias;
  if (output.length < minTokens) for (const token of stops) values[token] = Number.NEGATIVE_INFINITY;
  return values;
}

export function logSoftmax(values: readonly number[]): number[] {
  const max = Math.max(...values);
  const sum = values.reduce((total, value) => total + Math.exp(value - max), 0);
  return values.map((value) => value - max - Math.log(sum));
}

/** Log-softmax after temperature, before the filters: what temperatureLogprobs report. */
export function temperatureLogprobs(values: readonly number[], temperature: number): number[] {
  return logSoftmax(values.map((value) => (temperature > 0 ? value / temperature : value)));
}
