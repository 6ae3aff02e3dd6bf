import { nearestTo } from '../../domain/nearest.ts';
import type { HttpClient, HttpReply, HttpSilence } from '../../provider-kit/http-client.ts';

/** A request with `{placeholders}` in it. At most one of `form`, `json` and `text`. */
export type RequestTemplate = {
  readonly method?: 'GET' | 'POST' | 'PUT';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly text?: string;
};

/** What is filled in; what is undefined is left out. */
export type TemplateValues = Readonly<Record<string, string | undefined>>;

/** `{to_digits:number}` is a number, where it is all of a JSON value. */
const PLACEHOLDER = /\{([a-z_]+)(:number)?\}/g;

type Encode = (value: string) => string;
const plain: Encode = (value) => value;
/** Text nodes and attributes alike. */
const xml: Encode = (value) => value.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
const jsonText: Encode = (value) => JSON.stringify(value).slice(1, -1);

function fill(template: string, values: TemplateValues, encode: Encode): string {
  return template.replace(PLACEHOLDER, (_, name: string) => encode(values[name] ?? ''));
}

/** A field that is nothing but a placeholder without a value is no field. */
function isLeftOut(template: string, values: TemplateValues): boolean {
  const whole = /^\{([a-z_]+)(:number)?\}$/.exec(template)?.[1];
  return whole !== undefined && values[whole] === undefined;
}

function fillFields(fields: Readonly<Record<string, string>>, values: TemplateValues): Record<string, string> {
  const kept = Object.entries(fields).filter(([, template]) => !isLeftOut(template, values));
  return Object.fromEntries(kept.map(([name, template]) => [name, fill(template, values, plain)]));
}

function fillJson(template: unknown, values: TemplateValues): unknown {
  if (typeof template === 'string') {
    const name = /^\{([a-z_]+):number\}$/.exec(template)?.[1];
    return name === undefined ? fill(template, values, plain) : Number(values[name]);
  }
  if (Array.isArray(template)) return template.map((item) => fillJson(item, values));
  if (typeof template !== 'object' || template === null) return template;
  const kept = Object.entries(template).filter(([, item]) => typeof item !== 'string' || !isLeftOut(item, values));
  return Object.fromEntries(kept.map(([name, item]) => [name, fillJson(item, values)]));
}

/** How a text body is encoded is said by its content type. */
function encodingOf(contentType: string): Encode {
  if (/xml/i.test(contentType)) return xml;
  if (/json/i.test(contentType)) return jsonText;
  return /urlencoded/i.test(contentType) ? encodeURIComponent : plain;
}

/** Sends the request, with each value encoded for its place. */
export function sendTemplate(
  http: HttpClient,
  template: RequestTemplate,
  values: TemplateValues,
  options: { readonly signal: AbortSignal; readonly headers: Readonly<Record<string, string>> },
): Promise<HttpReply | HttpSilence> {
  const { url, query = {}, form, json, text } = template;
  const address = fill(url, values, encodeURIComponent);
  const search = new URLSearchParams(fillFields(query, values)).toString();
  const target = search === '' ? address : `${address}${address.includes('?') ? '&' : '?'}${search}`;
  const headers = { ...options.headers, ...fillFields(template.headers ?? {}, values) };
  const method = template.method ?? 'POST';
  const all = { ...options, method, headers };
  if (json !== undefined) return http.postJson(target, fillJson(json, values), all);
  if (form !== undefined) return http.postForm(target, fillFields(form, values), all);
  if (text === undefined) return http.send(target, undefined, all);
  const type = contentTypeOf(template) ?? 'text/plain; charset=utf-8';
  const typed = { ...all, headers: { 'Content-Type': type, ...headers } };
  return http.send(target, fill(text, values, encodingOf(type)), typed);
}

function contentTypeOf({ headers = {} }: RequestTemplate): string | undefined {
  return Object.entries(headers).find(([name]) => name.toLowerCase() === 'content-type')?.[1];
}

/** Every placeholder of a request, with the place where it stands. */
function placeholdersOf(template: RequestTemplate): { readonly place: string; readonly name: string }[] {
  return Object.entries(template).flatMap(([key, part]) => walk(key, part));
}

function walk(place: string, part: unknown): { place: string; name: string }[] {
  if (typeof part === 'string') return [...part.matchAll(PLACEHOLDER)].map(([, name = '']) => ({ place, name }));
  if (typeof part !== 'object' || part === null) return [];
  return Object.entries(part).flatMap(([key, item]) => walk(`${place}.${key}`, item));
}

/** The names of the placeholders that a request has. */
export function namesIn(template: RequestTemplate): ReadonlySet<string> {
  return new Set(placeholdersOf(template).map(({ name }) => name));
}

/**
 * What is wrong with a request, each in a sentence with its place.
 * @param known the placeholders that may be used here
 */
export function templateFaults(place: string, template: RequestTemplate, known: readonly string[]): string[] {
  const faults: string[] = [];
  for (const { place: inner, name } of placeholdersOf(template)) {
    if (!known.includes(name)) faults.push(`${place}.${inner} {${name}} is no placeholder${nearestTo(name, known)}`);
    // A line break in a text would end the header.
    else if (inner.startsWith('headers.') && (name === 'text' || name === 'code'))
      faults.push(`${place}.${inner} {${name}} cannot stand in a header`);
  }
  const [, origin = ''] = /^(https?:\/\/[^/?#]*)/i.exec(template.url) ?? [];
  if (origin === '' || !URL.canParse(template.url.replace(PLACEHOLDER, 'x')))
    faults.push(`${place}.url must be an address that starts with https:// or http://`);
  // Whoever can choose what is sent would choose where it goes.
  else if (origin.search(PLACEHOLDER) !== -1) faults.push(`${place}.url has a placeholder in its host`);
  else if (origin.includes('@')) faults.push(`${place}.url has credentials in it: use auth, user and password`);
  const bodies = (['form', 'json', 'text'] as const).filter((key) => template[key] !== undefined);
  if (bodies.length > 1) faults.push(`${place} has ${bodies.join(' and ')}: one body is all that a request has`);
  if (bodies.length > 0 && template.method === 'GET') faults.push(`${place}.method GET has no ${bodies[0]} body`);
  return faults;
}

/** What stands at `messages.0.id`. */
export function valueAt(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((at, key) => {
    const isOwn = typeof at === 'object' && at !== null && Object.hasOwn(at, key);
    return isOwn ? (at as Record<string, unknown>)[key] : undefined;
  }, value);
}
