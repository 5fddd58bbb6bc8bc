/**
 * Python's eval() of arithmetic text over `0123456789+-*` `/(). `: its values, its errors at run time, and which of its syntax errors a text meets. Pure.
 *
 * Beside numbers such text can make `()`, `...` and complex numbers, of which only the types matter: nothing that is asked for can be made of them.
 * A power of more than a million bits, which Python may calculate for minutes or forever, is at once what most of them come to: too large for a float.
 */
import { toFloat } from "./operators.js";
import { str } from "./repr.js";
import { PyError, typeError } from "./types.js";

const TUPLE = Symbol("tuple");
const ELLIPSIS = Symbol("ellipsis");
const COMPLEX = Symbol("complex");
type Value = bigint | number | typeof TUPLE | typeof ELLIPSIS | typeof COMPLEX;
type Numeric = bigint | number;

const MAX_POWER_BITS = 1_000_000;

/** float(eval(text)) */
export function evaluateToFloat(text: string): number {
  const value = evaluate(text);
  if (typeof value === "symbol")
    throw typeError(`float() argument must be a string or a real number, not '${typeOf(value)}'`);
  return toFloat(value);
}

function evaluate(text: string): Value {
  const tokens = text.match(/\d+\.?\d*|\.\d+|\.\.\.|\*\*|\/\/|[-+*/().]/g) ?? [];
  if (tokens.length === 0) throw syntaxError("invalid syntax", 0);
  const levels = levelsOf(tokens);
  const tree = new Parser(tokens, levels).parse();
  if (tree !== undefined) return tree();
  new Parser(tokens, levels, true).parse();
  throw syntaxError("invalid syntax");
}

const syntaxError = (message: string, line = 1) =>
  new PyError("SyntaxError", `${message} (<string>, line ${line})`);

/** How many parentheses are open behind each token. Throws what is wrong with the tokens alone, which comes before all that the grammar has to say. */
function levelsOf(tokens: string[]): number[] {
  let open = 0;
  return tokens.map((token) => {
    if (/^0+[1-9]\d*$/.test(token))
      throw syntaxError(
        "leading zeros in decimal integer literals are not permitted; use an 0o prefix for octal integers",
      );
    if (token === "(") open++;
    if (token === ")" && --open < 0) throw syntaxError("unmatched ')'");
    return open;
  });
}

type Node = () => Value;

/**
 * Recursive descent; a part that does not parse is undefined. As in CPython there is a second pass that complains: it throws where there is more to say
 * than "invalid syntax". Either pass throws when it looks for a token behind the last one while a parenthesis is open.
 */
class Parser {
  #at = 0;
  constructor(
    private readonly tokens: string[],
    private readonly levels: number[],
    private complains = false,
  ) {}

  get #next(): string | undefined {
    if (this.#at === this.tokens.length && this.levels.at(-1)! > 0) throw syntaxError("'(' was never closed");
    return this.tokens[this.#at];
  }

  parse(): Node | undefined {
    const tree = this.#expression();
    return tree !== undefined && this.#next === undefined ? tree : undefined;
  }

  #expression(): Node | undefined {
    if (this.complains) this.#complainOfTwo();
    return this.#sum();
  }

  /** Two expressions side by side, inside parentheses. */
  #complainOfTwo(): void {
    const start = this.#at;
    if (this.#sum() !== undefined) {
      this.complains = false;
      const isTwo = this.#sum() !== undefined && this.levels[this.#at - 1]! > 0;
      this.complains = true;
      if (isTwo) throw syntaxError("invalid syntax. Perhaps you forgot a comma?");
    }
    this.#at = start;
  }

  #sum(): Node | undefined {
    return this.#leftToRight(["+", "-"], () => this.#leftToRight(["*", "/", "//"], () => this.#factor()));
  }

  #leftToRight(operators: string[], operand: () => Node | undefined): Node | undefined {
    let left = operand();
    while (left !== undefined && operators.includes(this.#next!)) {
      const end = this.#at;
      const operator = this.tokens[this.#at++]!;
      const [first, second] = [left, operand()];
      if (second === undefined) return this.#upTo(end, first);
      left = () => binary(operator, first(), second());
    }
    return left;
  }

  /** What parsed up to a token that nothing can be made of. */
  #upTo(end: number, node: Node): Node {
    this.#at = end;
    return node;
  }

  #factor(): Node | undefined {
    const sign = this.#next;
    if (sign !== "+" && sign !== "-") return this.#power();
    this.#at++;
    const operand = this.#factor();
    return operand && (() => unary(sign, operand()));
  }

  #power(): Node | undefined {
    const base = this.#primary();
    if (base === undefined || this.#next !== "**") return base;
    const end = this.#at++;
    const exponent = this.#factor();
    return exponent === undefined ? this.#upTo(end, base) : () => binary("**", base(), exponent());
  }

  #primary(): Node | undefined {
    let value = this.#atom();
    while (value !== undefined && (this.#next === "(" || this.#next === ".")) {
      const [end, callee] = [this.#at, value];
      value = this.#next === "." ? this.#member() : this.#call(callee);
      if (value === undefined) return this.#upTo(end, callee);
    }
    return value;
  }

  /** No name can follow the point. */
  #member(): undefined {
    this.#at++;
    void this.#next;
  }

  #call(callee: Node): Node | undefined {
    return this.#inParentheses(() => {
      const star = this.#star();
      if (star === undefined && this.#next === ")") return () => refuseCall(callee());
      const argument = this.#expression();
      return argument && (() => refuseCall(callee(), star, argument()));
    });
  }

  #atom(): Node | undefined {
    const token = this.#next;
    if (token === "(") return this.#group();
    if (token === undefined || !/[\d]|^\.\.\.$/.test(token)) return undefined;
    this.#at++;
    const value = token === "..." ? ELLIPSIS : token.includes(".") ? Number(token) : BigInt(token);
    return () => value;
  }

  #group(): Node | undefined {
    return this.#inParentheses(() => {
      if (this.#next === ")") return () => TUPLE;
      if (this.#next === "**" && !this.complains) return undefined;
      const star = this.#star();
      const inner = this.#expression();
      if (star === undefined || inner === undefined) return inner;
      if (this.#next === ")" && this.complains)
        throw syntaxError(`cannot use ${star === "*" ? "" : "double "}starred expression here`);
      return undefined;
    });
  }

  #star(): string | undefined {
    const token = this.#next;
    if (token !== "*" && token !== "**") return undefined;
    this.#at++;
    return token;
  }

  #inParentheses(body: () => Node | undefined): Node | undefined {
    this.#at++;
    const inner = body();
    if (inner === undefined || this.#next !== ")") return undefined;
    this.#at++;
    return inner;
  }
}

function typeOf(value: Value): string {
  return typeof value === "symbol" ? value.description! : typeof value === "bigint" ? "int" : "float";
}

/** No value here can be called; what is wrong with the arguments comes first. */
function refuseCall(callee: Value, star?: string, argument?: Value): never {
  const shown = callee === TUPLE ? "()" : callee === ELLIPSIS ? "Ellipsis" : str(callee as Numeric);
  if (star === "*" && argument !== TUPLE)
    throw typeError(`${shown} argument after * must be an iterable, not ${typeOf(argument!)}`);
  if (star === "**")
    throw typeError(`${shown} argument after ** must be a mapping, not ${typeOf(argument!)}`);
  throw typeError(`'${typeOf(callee)}' object is not callable`);
}

function unary(sign: string, operand: Value): Value {
  if (operand === COMPLEX) return COMPLEX;
  if (typeof operand === "symbol")
    throw typeError(`bad operand type for unary ${sign}: '${typeOf(operand)}'`);
  return sign === "-" ? -operand : operand;
}

function binary(operator: string, a: Value, b: Value): Value {
  if (typeof a === "symbol" || typeof b === "symbol") return ofOthers(operator, a, b);
  if (operator === "**") return power(a, b);
  if (operator === "/") return divide(a, b);
  if (operator === "//") return floorDivide(a, b);
  if (typeof a === "bigint" && typeof b === "bigint")
    return operator === "+" ? a + b : operator === "-" ? a - b : a * b;
  const [x, y] = [toFloat(a), toFloat(b)];
  return operator === "+" ? x + y : operator === "-" ? x - y : x * y;
}

/** One of the two is no real number. */
function ofOthers(operator: string, a: Value, b: Value): Value {
  const isComplex = (value: Value) => value === COMPLEX || typeof value !== "symbol";
  if (isComplex(a) && isComplex(b) && operator !== "//") {
    if (operator === "/" && Number(b === COMPLEX ? 1 : b) === 0)
      throw zeroDivision("complex division by zero");
    return COMPLEX;
  }
  if (operator === "*" && (a === TUPLE || b === TUPLE)) {
    const count = a === TUPLE ? b : a;
    if (typeof count === "bigint") return TUPLE;
    throw typeError(`can't multiply sequence by non-int of type '${typeOf(count)}'`);
  }
  if (operator === "+" && a === TUPLE) {
    if (b === TUPLE) return TUPLE;
    throw typeError(`can only concatenate tuple (not "${typeOf(b)}") to tuple`);
  }
  const shown = operator === "**" ? "** or pow()" : operator;
  throw typeError(`unsupported operand type(s) for ${shown}: '${typeOf(a)}' and '${typeOf(b)}'`);
}

const zeroDivision = (message: string) => new PyError("ZeroDivisionError", message);

function power(a: Numeric, b: Numeric): Value {
  if (typeof a === "bigint" && typeof b === "bigint" && b >= 0n) {
    const bits = a.toString(2).length; // of the sign too: an estimate
    if (a * a > 1n && BigInt(bits) * b > MAX_POWER_BITS)
      throw new PyError("OverflowError", "int too large to convert to float");
    return a ** b;
  }
  const [x, y] = [toFloat(a), toFloat(b)];
  if (x === 0 && y < 0) throw zeroDivision("0.0 cannot be raised to a negative power");
  if (x < 0 && Number.isFinite(x) && Number.isFinite(y) && !Number.isInteger(y)) return COMPLEX;
  const result = x === 1 ? 1 : x ** y; // 1 ** inf is NaN in JavaScript
  if (!Number.isFinite(result) && Number.isFinite(x) && Number.isFinite(y))
    throw new PyError("OverflowError", "(34, 'Numerical result out of range')");
  return result;
}

function divide(a: Numeric, b: Numeric): number {
  if (typeof a === "bigint" && typeof b === "bigint") {
    if (b === 0n) throw zeroDivision("division by zero");
    return quotient(a, b);
  }
  const [x, y] = [toFloat(a), toFloat(b)];
  if (y === 0) throw zeroDivision("float division by zero");
  return x / y;
}

/** a / b rounded once, whatever their size. */
function quotient(a: bigint, b: bigint): number {
  const [x, y] = [Number(a), Number(b)];
  if (Number.isSafeInteger(x) && Number.isSafeInteger(y)) return x / y;
  const [top, bottom] = [a < 0n ? -a : a, b < 0n ? -b : b];
  const shift = Math.max(0, 70 - (top.toString(2).length - bottom.toString(2).length));
  const scaled = top << BigInt(shift);
  const digits = scaled / bottom;
  const sticky = digits * bottom === scaled ? 0n : 1n;
  const result = Number((digits << 1n) | sticky) * 2 ** -(shift + 1);
  if (!Number.isFinite(result))
    throw new PyError("OverflowError", "integer division result too large for a float");
  return a < 0n === b < 0n ? result : -result;
}

function floorDivide(a: Numeric, b: Numeric): Numeric {
  if (typeof a === "bigint" && typeof b === "bigint") {
    if (b === 0n) throw zeroDivision("integer division or modulo by zero");
    const whole = a / b;
    return whole * b !== a && a < 0n !== b < 0n ? whole - 1n : whole;
  }
  const [x, y] = [toFloat(a), toFloat(b)];
  if (y === 0) throw zeroDivision("float floor division by zero");
  const rest = x % y;
  const whole = (x - rest) / y - (rest !== 0 && y < 0 !== rest < 0 ? 1 : 0);
  if (whole === 0) return x / y < 0 || Object.is(x / y, -0) ? -0 : 0;
  const floor = Math.floor(whole);
  return whole - floor > 0.5 ? floor + 1 : floor;
}
