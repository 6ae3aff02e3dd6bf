import { describe, expect, it } from 'vitest';
import { differenceOf, exampleOf, readAnswer } from '../../../src/http/dialects/shadow-shape.ts';

const answer = (body: unknown, status = 200) =>
  readAnswer(status, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
const difference = (upstream: unknown, ours: unknown) => differenceOf(answer(upstream), answer(ours));

describe('the shapes of two answers', () => {
  it.each([
    ['other texts and numbers', { message: 'sent', ttl: 300 }, { message: 'on its way', ttl: 1 }],
    ['another order of keys', { a: 1, b: '' }, { b: '', a: 1 }],
    ['whole numbers and fractions', { price: 1 }, { price: 1.5 }],
    ['yes and no', { ok: true }, { ok: false }],
    ['lists of other lengths', { detail: [{ msg: 'a' }] }, { detail: [{ msg: 'b' }, { msg: 'c' }] }],
    ['an empty list', { detail: [] }, { detail: [{ msg: 'b' }] }],
    ['elements of mixed types in another order', [['body', 0]], [[0, 'body']]],
    ['white space alone', ' \n', ''],
  ])('are the same for %s', (_name, upstream, ours) => {
    expect(difference(upstream, ours)).toBe('');
    expect(difference(ours, upstream)).toBe('');
  });

  it.each([
    ['a key that ours lacks', { a: 1, b: '' }, { a: 1 }, 'b: string, ours absent'],
    ['a key that is new', { a: 1 }, { a: 1, b: null }, 'b: absent, ours null'],
    ['a number that is a text', { ttl: 300 }, { ttl: '300' }, 'ttl: number, ours string'],
    ['null in the place of a value', { user: { name: null } }, { user: { name: 'A' } }, 'user.name: null, ours string'],
    ['a list in the place of a text', { phone: ['wrong'] }, { phone: 'wrong' }, 'phone: list, ours string'],
    [
      'what is in a list',
      { d: [{ a: 1 }] },
      { d: [{ b: 1 }] },
      'd[].a: number, ours absent; d[].b: absent, ours number',
    ],
    ['elements', { loc: ['body', 0] }, { loc: ['body'] }, 'loc[]: number or string, ours string'],
    ['null among elements', [null], ['a'], '[]: null, ours string'],
    ['a body that is no JSON', '<html>', {}, 'body: text, ours object'],
    ['no body at all', '', {}, 'body: nothing, ours object'],
    ['a body that is null', 'null', {}, 'body: null, ours object'],
  ])('differ by %s', (_name, upstream, ours, said) => {
    expect(difference(upstream, ours)).toBe(said);
  });

  it('differ by status, which is said first', () => {
    expect(differenceOf(answer({ a: 1 }, 200), answer({ b: 1 }, 429))).toBe(
      'status: 200, ours 429; a: number, ours absent; b: absent, ours number',
    );
  });

  it('says of what one side lacks no more than that, whatever somebody put into it', () => {
    expect(difference({ input: { a: { b: { c: 1 } } } }, {})).toBe('input: object, ours absent');
  });

  it('says ten differences at most, and no value or number in a key', () => {
    const keys = Array.from({ length: 25 }, (_, i) => `k${'x'.repeat(i % 7)}${'abcdefghijklmnopqrstuvwxy'[i]}`);
    const said = difference(Object.fromEntries(keys.map((key) => [key, 1])), {});
    expect(said.split('; ')).toHaveLength(11);
    expect(said).toMatch(/; and 15 more$/);
    expect(difference({ '+998901234567': 1, ['k'.repeat(2000)]: 1 }, {})).not.toMatch(/\d{3}|k{61}/);
  });

  it('are compared in no long time, also where they are made to take long', () => {
    const startedAt = performance.now();
    difference({ ['a'.repeat(500_000)]: 1 }, { message: 'sent' });
    const detail = Array.from({ length: 40_000 }, (_, index) => ({ [`key${index}`]: 1 }));
    difference({ detail }, { detail: [{ msg: 'a' }] });
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it('are compared however deeply a body is nested', () => {
    const deep = `${'['.repeat(50_000)}1${']'.repeat(50_000)}`;
    expect(difference(deep, deep)).toBe('');
    expect(exampleOf(answer(deep)).length).toBeLessThanOrEqual(500);
  });
});

describe('an example', () => {
  const example = (body: unknown) => exampleOf(answer(body));

  it('is the body, where nothing in it is anybody’s', () => {
    const body = { success: true, message: 'Tasdiqlash kodi yuborildi', expires_in: 60, market: 'UZ', email: null };
    expect(JSON.parse(example(body))).toEqual(body);
  });

  it.each([
    ['a code', 'Your code is 042917.'],
    ['a short code', 'Your code is 042'],
    ['a code in two parts', 'Your code is 042 917.'],
    ['a code with a dash', 'Your code is 04-29-17'],
    ['a code with colons', 'Your code is 04:29:17'],
    ['a code in lines', 'Your code is\n04\n29\n17'],
    ['Eastern digits', 'رمزك ٠٤٢٩١٧'],
    ['a code with letters', 'Your code is A7K9Q2'],
    ['a number', 'Sent to +998901234567'],
    ['a number as people write it', 'Sent to +998 (90) 123-45-67'],
    ['an e-mail address', 'Sent to ali.karimov@example.com'],
    ['a signed token', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhYmMifQ.c2lnbmF0dXJlLWhlcmU'],
    ['a random text', 'zqLmWvTrXbNkPsYd'],
    ['a digest', 'deadbeef0badc0de'],
  ])('hides %s in a text', (_name, secret) => {
    for (const masked of [example({ message: secret }), example(secret), example([{ [secret]: 1 }])]) {
      expect(masked).toContain('•••');
      expect(masked).not.toMatch(/\p{Nd}{2}|A7K|karimov|eyJ|zqLm|dead/u);
    }
  });

  it('hides numbers of three digits and more', () => {
    expect(example({ code: 42917, expires_in: 300, attempts: 5 })).toBe('{"code":"•••","expires_in":•••,"attempts":5}');
  });

  it.each([
    'otp',
    'access_token',
    'accessToken',
    'full_name',
    'firstName',
    'password',
    'session',
    'address',
    'refresh',
  ])('hides whatever is under %s', (key) => {
    expect(example({ data: { [key]: { a: ['plain'] }, b: 'plain text' } })).toBe(
      `{"data":{"${key}":"•••","b":"plain text"}}`,
    );
  });

  it('holds nothing that a terminal would obey, and neither does a difference', () => {
    const sequences = '\u001b[2J\u0007\u009b1m\u202e\u2028\u0000';
    for (const text of [example(`<p>${sequences}</p>`), difference({ [`a${sequences}b`]: 1 }, {})])
      expect(text).not.toMatch(/[\p{Cc}\p{Cf}\u2028]/u);
  });

  it('has 500 characters at most, also of a megabyte', () => {
    for (const body of ['w '.repeat(500_000), { text: '😀'.repeat(200_000) }, Array(100_000).fill('word')]) {
      const text = example(body);
      expect(text.length).toBeLessThanOrEqual(500);
      expect(text.isWellFormed()).toBe(true);
    }
  });

  it('takes no long time to mask what is made to take long', () => {
    const startedAt = performance.now();
    for (const part of ['1 ', '1-', 'a@', '@', 'aB', '(1', '1((', '.', ' '])
      example(part.repeat(500_000 / part.length));
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });
});
