import { isUtf8 } from 'node:buffer';
import { invalid, TwilioError } from './errors.ts';

/** The parameters of a request, of its body or its query; an empty one is as if it were not there. */
export class Form {
  readonly #fields: ReadonlyMap<string, string>;

  private constructor(fields: ReadonlyMap<string, string>) {
    this.#fields = fields;
  }

  /**
   * `application/x-www-form-urlencoded`, read strictly: of a parameter that is given twice nobody knows which one was
   * meant, and of broken bytes not what they said.
   * @throws TwilioError
   */
  static parse(raw: Uint8Array): Form {
    if (!isUtf8(raw)) throw unreadable();
    const fields = new Map<string, string>();
    for (const pair of Buffer.from(raw).toString().split('&')) {
      if (pair === '') continue;
      const cut = pair.indexOf('=');
      const name = decode(cut < 0 ? pair : pair.slice(0, cut));
      const value = cut < 0 ? '' : decode(pair.slice(cut + 1));
      if (fields.has(name)) throw invalid(name.slice(0, 60), 'it is given more than once');
      // No store can hold it.
      if (value.includes('\0')) throw invalid(name.slice(0, 60), 'it holds a NUL');
      fields.set(name, value);
    }
    return new Form(fields);
  }

  static readonly empty = new Form(new Map());

  names(): readonly string[] {
    return [...this.#fields.keys()];
  }

  text(name: string, maxChars = 255): string | undefined {
    const value = this.#fields.get(name);
    if (value === undefined || value === '') return undefined;
    if (value.length > maxChars) throw invalid(name, `it may have ${maxChars} characters at the most`);
    return value;
  }

  required(name: string, maxChars?: number): string {
    const value = this.text(name, maxChars);
    if (value === undefined) throw invalid(name, 'it is missing');
    return value;
  }

  /** A number or an e-mail address. A `+` that nobody encoded arrives as a space. */
  recipient(name: string): string | undefined {
    return this.text(name)?.replace(/^ (?=\d)/, '+');
  }

  flag(name: string): boolean | undefined {
    const value = this.text(name)?.toLowerCase();
    if (value === undefined) return undefined;
    if (value !== 'true' && value !== 'false') throw invalid(name, 'it must be true or false');
    return value === 'true';
  }

  integer(name: string, min: number, max: number): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) throw invalid(name, `it must be a whole number from ${min} to ${max}`);
    return number;
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[]): Choice | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const choice = choices.find((each) => each === value);
    if (choice === undefined) throw invalid(name, `it must be one of ${choices.join(', ')}`);
    return choice;
  }

  /** ms since the epoch */
  instant(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const at = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:?\d\d)?)?$/.test(value)
      ? Date.parse(/T/.test(value) && !/(Z|[+-]\d\d:?\d\d)$/.test(value) ? `${value}Z` : value)
      : Number.NaN;
    if (!(at >= 0)) throw invalid(name, 'it must be a moment in ISO 8601, e.g. 2026-11-20T10:00:00Z');
    return at;
  }

  /** A JSON object in one field: names and short texts; numbers are taken as texts. */
  pairs(name: string, { most, maxChars }: { most: number; maxChars: number }): Map<string, string> | undefined {
    const object = this.object(name);
    if (object === undefined) return undefined;
    const pairs = Object.entries(object).map(([key, value]) => {
      const isText = typeof value === 'string' || typeof value === 'number';
      if (!isText || key.length > maxChars || String(value).length > maxChars)
        throw invalid(name, `its names and values must be texts of ${maxChars} characters at the most`);
      return [key, String(value)] as const;
    });
    if (pairs.length > most) throw invalid(name, `it may hold ${most} pairs at the most`);
    return new Map(pairs);
  }

  object(name: string): object | undefined {
    const text = this.text(name, MAX_OBJECT_CHARS);
    if (text === undefined) return undefined;
    const value = readJson(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw invalid(name, 'it must be a JSON object');
    return value;
  }
}

const MAX_OBJECT_CHARS = 8192;

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw unreadable();
  }
}

function unreadable(): TwilioError {
  return new TwilioError(60200, 'Invalid parameter: the request is not form-encoded UTF-8');
}
