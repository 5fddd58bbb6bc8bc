/**
 * What Engine.load does once, apart from the engine itself: progress, warnings, the tokenizer, and the specification
 * that goes to native code. Main thread.
 */
import { AsyncRenderer } from "./chat/async-renderer.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import { ropeFrequencies } from "./checkpoint/rope.js";
import { LockstepError, messageOf } from "./errors.js";
import { forcedComputePath, type NativeEngineSpec } from "./native.js";
import type { EngineLimits, LoadOptions, LoadProgress } from "./options.js";
import type { TextSide } from "./prompt.js";
import { AsyncEncoder } from "./tokenizer/async-encoder.js";
import { Tokenizer } from "./tokenizer/tokenizer.js";

/** Weights that are not stored as BF16 cost memory, and time at each load. */
export function warnOfConversion(model: string, { tensors }: Checkpoint): void {
  const converted = tensors.filter(({ dtype }) => dtype !== "BF16");
  if (converted.length === 0) return;
  const elements = converted.reduce(
    (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
    0,
  );
  const dtypes = [...new Set(converted.map(({ dtype }) => dtype))].join(" and ");
  process.emitWarning(
    `${model} stores ${converted.length} of ${tensors.length} tensors as ${dtypes}: they are rounded to BF16 at each load, ` +
      `into ${Math.ceil((2 * elements) / 2 ** 20)} MiB of memory. Saved as BF16, they would be used where they lie in the file.`,
    { type: "LockstepWarning", code: "LOCKSTEP_CONVERTED_WEIGHTS" },
  );
}

/** Calls the caller's function. What it throws, or rejects with, is a CALLBACK_FAILED at this call or the next. */
export function progressReporter(callback: LoadOptions["onProgress"]): (progress: LoadProgress) => void {
  let failure: LockstepError | undefined;
  const fail = (cause: unknown): void => {
    failure = new LockstepError("CALLBACK_FAILED", `onProgress threw: ${messageOf(cause)}`, { cause });
  };
  return (progress) => {
    try {
      const result: unknown = callback?.(progress);
      if (result instanceof Promise) result.catch(fail);
    } catch (cause) {
      fail(cause);
    }
    if (failure) throw failure;
  };
}

/** The tokenizer, where the checkpoint has one. */
export async function loadText(directory: string): Promise<TextSide | undefined> {
  try {
    const tokenizer = await Tokenizer.fromDirectory(directory);
    return { tokenizer, encoder: new AsyncEncoder(tokenizer, directory), renderer: new AsyncRenderer() };
  } catch (error) {
    if (error instanceof LockstepError && error.code === "NO_TOKENIZER") return undefined;
    throw error;
  }
}

/** What the native engine is made from. */
export function nativeSpec(
  checkpoint: Checkpoint,
  limits: EngineLimits,
  options: LoadOptions,
): NativeEngineSpec {
  const { config } = checkpoint;
  return {
    config: {
      hiddenSize: config.hiddenSize,
      intermediateSize: config.intermediateSize,
      numLayers: config.numLayers,
      numHeads: config.numHeads,
      numKvHeads: config.numKvHeads,
      headDim: config.headDim,
      vocabSize: config.vocabSize,
      rmsNormEps: config.rmsNormEps,
      tiedHead: config.tieWordEmbeddings,
      ropeInvFreq: ropeFrequencies(config),
      ropeScale: config.rope.attentionFactor,
    },
    files: checkpoint.files,
    tensors: checkpoint.tensors,
    copyWeights: options.weights === "copy",
    ranks: limits.ranks,
    prefixCache: (options.prefixCache ?? true) && !options.debug, // so that all is computed where it is looked at
    profile: options.profile ?? false,
    debug: options.debug ?? false,
    computePath: forcedComputePath(),
    devices: Int32Array.from(limits.devices),
    memoryFraction: options.memoryFraction ?? 0.7,
    threads: limits.threads,
    numBlocks: limits.numBlocks,
    maxContext: limits.maxContext,
    maxBatchTokens: limits.maxBatchTokens,
    maxSequences: limits.maxSequences,
  };
}
