/** The backends' layouts of a KV block (native/ops/cpu/kernels/attention.h, native/ops/cuda/attention.cu), and caches filled for tests. */
import { type Bits, type Cache, native, random, type SequenceSlice, stride } from "./native.js";

const BLOCK = 16;

/** K of a head in a block: [d / 2, 16 keys, 2] on the CPU, as V on a device. */
export function kIndex(cache: Cache, block: number, head: number, key: number, i: number): number {
  if (native.onDevice) return vIndex(cache, block, head, key, i);
  const part = (block * cache.kvHeads + head) * BLOCK * cache.headDim;
  return part + ((i >> 1) * BLOCK + key) * 2 + (i & 1);
}

/** V of a head in a block: [16 keys, d]. */
export function vIndex(cache: Cache, block: number, head: number, key: number, i: number): number {
  return (block * cache.kvHeads + head) * BLOCK * cache.headDim + key * cache.headDim + i;
}

export interface FilledCache {
  cache: Cache;
  blocks: Int32Array[];
}

/**
 * A cache that holds `contexts[s]` keys of each sequence s in scattered blocks; k and v are [tokens, Hkv * d], one
 * sequence after the other. Everything else in it is what `rest` returns: NaN, infinities, huge values.
 */
export function fillCache(
  k: Bits,
  v: Bits,
  contexts: number[],
  kvHeads: number,
  headDim: number,
): FilledCache {
  const next = random(contexts.length + headDim);
  const needed = contexts.map((tokens) => Math.ceil(tokens / BLOCK));
  const numBlocks = needed.reduce((sum, n) => sum + n, 3);
  const order = Array.from({ length: numBlocks }, (_, i) => i);
  for (let i = numBlocks - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const rest = [0x7fc0, 0x7f80, 0xff80, 0x7f7f, 0xff7f]; // NaN, inf, -inf, largest, -largest
  const size = numBlocks * kvHeads * BLOCK * headDim;
  const poison = () => Uint16Array.from({ length: size }, () => rest[Math.floor(next() * rest.length)]!);
  const cache: Cache = { k: poison(), v: poison(), numBlocks, kvHeads, headDim };
  let row = 0;
  const blocks = contexts.map((tokens, s) => {
    const own = Int32Array.from(order.splice(0, needed[s]!));
    for (let t = 0; t < tokens; t++, row++) {
      for (let i = 0; i < kvHeads * headDim; i++) {
        const [head, element] = [Math.floor(i / headDim), i % headDim];
        const block = own[t >> 4]!;
        cache.k[kIndex(cache, block, head, t & 15, element)] = k.data[row * stride(k) + i]!;
        cache.v[vIndex(cache, block, head, t & 15, element)] = v.data[row * stride(v) + i]!;
      }
    }
    return own;
  });
  return { cache, blocks };
}

/** Sequences whose last `tokens[s]` of `contexts[s]` tokens are this step's queries, rows one after the other. */
export function slices(filled: FilledCache, contexts: number[], tokens: number[]): SequenceSlice[] {
  let firstRow = 0;
  return contexts.map((context, s) => {
    const slice = {
      firstRow,
      numTokens: tokens[s]!,
      startPosition: context - tokens[s]!,
      blocks: filled.blocks[s]!,
    };
    firstRow += tokens[s]!;
    return slice;
  });
}
