import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { measureText, normalizeText } from '../../src/domain/message-text.ts';
import { isAppHash, isWebOtpDomain, withEnding } from '../../src/domain/text-ending.ts';

const text = 'Royal Taxi: your code is 042917. Valid for 10 min.';

describe('a text with an ending', () => {
  it('is the text itself without one', () => {
    expect(withEnding(text, undefined, '042917')).toBe(text);
  });

  it('has the domain and the code in its last line, for web pages', () => {
    expect(withEnding(text, { kind: 'web-otp', domain: 'example.com' }, '042917')).toBe(
      'Royal Taxi: your code is 042917. Valid for 10 min.\n@example.com #042917',
    );
  });

  it('has the hash at its very end, for an Android app', () => {
    expect(withEnding(text, { kind: 'sms-retriever', appHash: 'FA+9qCX9VSu' }, '042917')).toBe(
      'Royal Taxi: your code is 042917. Valid for 10 min.\nFA+9qCX9VSu',
    );
  });

  it('is left alone by normalising, and stays in GSM-7', () => {
    for (const ending of [
      { kind: 'web-otp', domain: 'xn--e1afmkfd.xn--p1ai' },
      { kind: 'sms-retriever', appHash: 'a/b+c/d+e/9' },
    ] as const) {
      const ended = withEnding(text, ending, '042917');
      expect(normalizeText(ended)).toBe(ended);
      expect(measureText(ended).encoding).toBe('GSM-7');
    }
  });

  it('is read back by the rules of the draft, whatever stands above', () => {
    const domain = fc.domain().filter(isWebOtpDomain);
    const code = fc.stringMatching(/^\d{4,10}$/);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), domain, code, (above, host, digits) => {
        expect(parseOriginBoundCode(withEnding(above, { kind: 'web-otp', domain: host }, digits))).toEqual({
          host,
          code: digits,
        });
      }),
    );
  });
});

describe('a domain of web pages', () => {
  it.each([
    'example.com',
    'login.example.co.uk',
    'EXAMPLE.com',
    'localhost',
    'a.b',
    '1.example',
    'my-app.uz',
    'xn--e1afmkfd.xn--p1ai',
    `${'a'.repeat(63)}.com`,
  ])('can be %s', (domain) => {
    expect(isWebOtpDomain(domain)).toBe(true);
  });

  it.each([
    ['', 'nothing'],
    ['example', 'no dot'],
    ['https://example.com', 'a scheme'],
    ['example.com:443', 'a port'],
    ['example.com/login', 'a path'],
    ['@example.com', 'the sign that is put in front'],
    ['user@example.com', 'a user'],
    ['example.com #1', 'a space'],
    ['example.com\n', 'a line end'],
    [' example.com', 'a space in front'],
    ['example.com.', 'a dot at the end'],
    ['.example.com', 'a dot in front'],
    ['example..com', 'two dots'],
    ['*.example.com', 'a star'],
    ['-a.example.com', 'a hyphen in front'],
    ['a-.example.com', 'a hyphen at the end of a label'],
    ['my_app.example.com', 'an underscore'],
    ['пример.рф', 'another script'],
    ['127.0.0.1', 'an address'],
    ['1.2.3.0x7f', 'an address in hexadecimal'],
    ['[::1]', 'an address of IPv6'],
    [`${'a'.repeat(64)}.com`, 'a label of 64 characters'],
    [`${'a.'.repeat(126)}com`, '255 characters'],
  ])('cannot be %j: %s', (domain) => {
    expect(isWebOtpDomain(domain)).toBe(false);
  });

  it('is always the whole host of an address, as a browser reads it', () => {
    const character = fc.constantFrom(...'abx-019._:/@# я');
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 12 }), (drawn) => {
        if (isWebOtpDomain(drawn)) expect(new URL(`https://${drawn}/`).host).toBe(drawn);
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('an app hash', () => {
  it.each(['FA+9qCX9VSu', 'abcdefghijk', '01234567890', '+++++++++++', 'a/b/c/d/e/f'])('can be %s', (hash) => {
    expect(isAppHash(hash)).toBe(true);
  });

  it.each([
    '',
    'FA+9qCX9VS',
    'FA+9qCX9VSuX',
    'FA-9qCX9VSu',
    'FA_9qCX9VSu',
    'FA+9qCX9VS=',
    'FA+9qCX9VSu\n',
    ' A+9qCX9VSu',
  ])('cannot be %j', (hash) => {
    expect(isAppHash(hash)).toBe(false);
  });

  it('is what Android makes of any package and certificate', () => {
    fc.assert(
      fc.property(fc.string(), (app) => {
        const hash = createHash('sha256').update(app).digest('base64').slice(0, 11);
        expect(isAppHash(hash)).toBe(true);
      }),
    );
  });
});

/** Steps of "parse an origin-bound one-time code message". Source: https://wicg.github.io/sms-one-time-codes/#parsing */
function parseOriginBoundCode(message: string): { host: string; code: string } | undefined {
  const line = message.replaceAll(/\r\n?/g, '\n').split('\n').at(-1) ?? '';
  const [, host, code] = /^@([^\t\f\r\n ]+) #([^\t\f\r\n ]+)/.exec(line) ?? [];
  return host === undefined || code === undefined ? undefined : { host, code };
}
