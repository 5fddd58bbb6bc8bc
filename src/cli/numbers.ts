/**
 * Owns reading numbers from command-line options. Pure.
 *
 * Must not know ranges: the engine's options own those, and its refusal names them.
 */
import { InvalidArgumentError } from "commander";

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

export function parseNumber(text: string): number {
  const value = Number(text);
  if (!DECIMAL.test(text) || !Number.isFinite(value))
    throw new InvalidArgumentError("Expected a number, such as 0.7.");
  return value;
}

export function parseInteger(text: string): number {
  const value = Number(text);
  if (!DECIMAL.test(text) || !Number.isInteger(value))
    throw new InvalidArgumentError("Expected an integer, such as 20.");
  return value;
}

/** "1,4,16": sizes and counts. */
export function parsePositiveIntegers(text: string): number[] {
  const values = text.split(",").map((part) => Number(DECIMAL.test(part) ? part : Number.NaN));
  if (!values.every((value) => Number.isSafeInteger(value) && value > 0))
    throw new InvalidArgumentError("Expected positive integers, such as 1,4,16.");
  return values;
}

export function parsePositiveInteger(text: string): number {
  const value = parseInteger(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError("Expected a positive integer, such as 20.");
  return value;
}
