import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { measureText, normalizeText, textFaults } from '../../src/domain/message-text.ts';
import { lintText, type TextFinding, type TextLintInput } from '../../src/domain/text-lint.ts';
import { defaultTexts } from '../../src/domain/texts.ts';

const usual: TextLintInput = {
  locale: 'en',
  template: defaultTexts.en,
  brand: 'Royal Taxi',
  codeLength: 6,
  minutes: 10,
};
const lint = (changes: Partial<TextLintInput>) => lintText({ ...usual, ...changes });
const found = (level: TextFinding['level'], changes: Partial<TextLintInput>) =>
  lint(changes).findings.flatMap((finding) => (finding.level === level ? [finding.message] : []));

describe('the report on a text', () => {
  it('says what is sent, with a code that is made up, and what it costs', () => {
    expect(lint({})).toEqual({
      locale: 'en',
      text: 'Royal Taxi: your code is 123456. Valid for 10 min.',
      encoding: 'GSM-7',
      units: 50,
      segments: 1,
      unitsLeft: 110,
      autofill: { ios: true, webOtp: false, smsRetriever: false },
      findings: [],
    });
  });

  it('makes up a code of the length that is asked for', () => {
    expect(lint({ template: '{code} code', codeLength: 4 }).text).toBe('1234 code');
    expect(lint({ template: '{code} code', codeLength: 10 }).text).toBe('1234567890 code');
  });

  it('shows the text normalised, and its ending', () => {
    const ending = { kind: 'web-otp', domain: 'example.com' } as const;
    const { text } = lint({ template: '{brand}…\u00a0code {code}', brand: '«Taxi»', ending });
    expect(text).toBe('"Taxi"... code 123456\n@example.com #123456');
  });

  it('names errors first, then warnings, then hints', () => {
    const { findings } = lint({ template: '{code}1 «ok» {x}' });
    const levels = findings.map(({ level }) => level);
    expect(new Set(levels)).toEqual(new Set(['error', 'warning', 'hint']));
    expect(levels).toEqual(levels.toSorted((a, b) => order.indexOf(a) - order.indexOf(b)));
  });

  it('is the same as what is measured when the text is sent, for any text', () => {
    const part = fc.oneof(
      fc.constantFrom('{brand}', '{code}', '{minutes}', '{x}', 'code ', ' 1234 ', 'ğ', 'код', '\ud800', '\0', 'a.uz'),
      fc.string({ unit: 'binary', maxLength: 5 }),
    );
    const template = fc.array(part).map((parts) => parts.join(''));
    const ending = fc.option(
      fc.oneof(
        fc.record({ kind: fc.constant('web-otp' as const), domain: fc.string() }),
        fc.record({ kind: fc.constant('sms-retriever' as const), appHash: fc.string() }),
      ),
      { nil: undefined },
    );
    const input = fc.record({
      template,
      ending,
      locale: fc.oneof(fc.constantFrom('ru', 'uz-Cyrl-UZ', 'ja', 'constructor', '__proto__'), fc.string()),
      brand: fc.string({ unit: 'binary' }),
      codeLength: fc.integer({ min: 4, max: 10 }),
      minutes: fc.integer({ min: 1, max: 15 }),
    });
    fc.assert(
      fc.property(input, (drawn) => {
        const { text, encoding, units, segments, unitsLeft, findings, autofill } = lintText(drawn);
        expect({ encoding, units, segments, unitsLeft }).toEqual(measureText(text));
        const messages = findings.map(({ message }) => message);
        expect(new Set(messages).size).toBe(messages.length);
        // Whatever is refused when it is configured is an error here too.
        for (const fault of textFaults(drawn.template))
          expect(findings).toContainEqual({ level: 'error', message: fault });
        if (segments > 1) expect(findings.some(({ level }) => level !== 'hint')).toBe(true);
        if (autofill.smsRetriever) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(140);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('an error of a text', () => {
  it('is each fault of its placeholders', () => {
    expect(found('error', { template: '{brand} code: {cdoe}' })).toEqual([
      '{cdoe} is no placeholder; did you mean code?',
      '{code} is missing',
    ]);
    expect(found('error', { template: '' })).toEqual(['the text is empty']);
  });

  it('is a length of more than 1600 characters, said once', () => {
    expect(found('error', { template: 'code {code} '.padEnd(1601, 'a') })).toEqual([
      'the text has 1601 characters, 1600 are the most',
      'the text needs 11 segments, 10 are the most',
    ]);
    expect(found('error', { template: 'code {code}{brand} '.padEnd(1600, 'a'), brand: 'b'.repeat(40) })).toContain(
      'filled in, the text has 1633 characters, 1600 are the most',
    );
  });

  it('is a length of more than ten segments', () => {
    const template = (units: number) => 'код {code} '.padEnd(units, 'я');
    expect(found('error', { locale: 'ru', template: template(670) })).toEqual([]);
    expect(found('error', { locale: 'ru', template: template(671) })).toEqual([
      'the text needs 11 segments, 10 are the most',
    ]);
  });

  it.each([
    ['\0', 'U+0000'],
    ['\u0007', 'U+0007'],
    ['\f', 'U+000C'],
    ['\u0085', 'U+0085'],
    ['\ud83d', 'U+D83D'],
    ['\ufffe', 'U+FFFE'],
    ['\ufffd', 'U+FFFD'],
  ])('is a character that cannot be sent: %j', (character, name) => {
    const message = `${name} cannot be sent, take it out`;
    expect(found('error', { template: `${defaultTexts.en}${character}${character}` })).toEqual([message]);
    expect(found('error', { brand: `Taxi${character}` })).toEqual([message]);
  });

  it('is not a line end, nor what normalising replaces', () => {
    expect(found('error', { template: 'code {code}\r\n{brand}\t\u200b😀' })).toEqual([]);
  });

  it.each([
    ['code 1{code} {brand}', '1{code}'],
    ['code {code}00 {brand}', '{code}00'],
    ['code {code}{minutes} {brand}', '{code}10'],
    ['code {brand}{code}', '24{code}'],
    ['{brand} code {code}{code}', '{code}{code}'],
  ])('is a digit that touches the code: %s', (template, shown) => {
    const { findings, autofill } = lint({ template, brand: 'Shop24' });
    expect(findings).toContainEqual({ level: 'error', message: `other digits touch the code: ${shown}` });
    expect(autofill.ios).toBe(false);
  });

  it('is a text that is too long for SMS Retriever with its hash', () => {
    const ending = { kind: 'sms-retriever', appHash: 'FA+9qCX9VSu' } as const;
    // The hash and its line break take 12 of the bytes; `é` takes two.
    const template = '{brand} code {code} '.padEnd(129, 'a');
    const full = lint({ template, brand: 'Cafés', ending });
    expect(Buffer.byteLength(full.text)).toBe(140);
    expect(full.findings).toEqual([]);
    expect(full.autofill.smsRetriever).toBe(true);
    const over = lint({ template, brand: 'Cafés!', ending });
    expect(over.findings).toContainEqual({
      level: 'error',
      message: 'with the app hash the text has 141 bytes, SMS Retriever reads 140 at the most',
    });
    expect(over.autofill.smsRetriever).toBe(false);
  });

  it('is an ending that is none', () => {
    expect(found('error', { ending: { kind: 'web-otp', domain: 'https://example.com' } })).toEqual([
      "'https://example.com' is no domain: a host alone, like example.com",
    ]);
    expect(found('error', { ending: { kind: 'sms-retriever', appHash: 'short' } })).toEqual([
      "'short' is no app hash: 11 letters, digits, + or /",
    ]);
  });
});

describe('a warning about a text', () => {
  it('is that it needs more than one segment, by how many units', () => {
    const template = 'Ваш код подтверждения для входа в приложение {brand}: {code}. Никому его не сообщайте.';
    expect(lint({ locale: 'ru', template })).toMatchObject({ encoding: 'UCS-2', units: 89, segments: 2 });
    expect(found('warning', { locale: 'ru', template })).toEqual([
      '2 segments: 19 units more than the 70 of one in UCS-2',
    ]);
    expect(found('warning', { template: 'code {code} {brand} '.padEnd(160, 'a') })).toEqual([
      '2 segments: 3 units more than the 160 of one in GSM-7',
    ]);
  });

  it('says when it is the ending that does not fit', () => {
    const ending = { kind: 'web-otp', domain: 'example.com' } as const;
    expect(
      found('warning', { locale: 'kk', template: defaultTexts.kk, brand: 'Twenty Letters Brand', ending }),
    ).toEqual(['2 segments: 10 units more than the 70 of one in UCS-2; without its ending it would be one']);
  });

  it('is a character that alone makes a Latin text dear', () => {
    const template =
      'Your {brand} code is {code}. Never tell it to anybody, not even to those who say they are us \u{1F512}';
    expect(found('warning', { template })).toEqual([
      '2 segments: 28 units more than the 70 of one in UCS-2',
      'U+1F512 \u{1F512}: outside GSM-7, so a segment holds 70 units instead of 160',
    ]);
  });

  it('is a Cyrillic letter that looks like a Latin one, in one segment too', () => {
    expect(found('warning', { template: '{brand}: your с\u043ede is {code}, code' })).toEqual([
      'U+0441 с, U+043E о: outside GSM-7, so a segment holds 70 units instead of 160',
    ]);
  });

  it('is a brand in another script, with no more than five of its characters', () => {
    expect(found('warning', { brand: 'Такси Город' })).toEqual([
      'U+0422 Т, U+0430 а, U+043A к, U+0441 с, U+0438 и and 4 more: ' +
        'outside GSM-7, so a segment holds 70 units instead of 160',
    ]);
  });

  it('is not that a Cyrillic text is Cyrillic', () => {
    const template = `${defaultTexts.ru} ${'Никому его не сообщайте. '.repeat(2)}`;
    expect(found('warning', { locale: 'ru', template })).toEqual([
      '2 segments: 26 units more than the 70 of one in UCS-2',
    ]);
  });

  it('is each character that is replaced or taken out before sending', () => {
    expect(found('warning', { template: "{brand}: o\u02BBz\u00a0kodi {code}… so'ra\u200bma\u00ad" })).toEqual([
      'the text is changed before sending: ' +
        "U+02BB ʻ becomes '; U+00A0 becomes a space; U+2026 … becomes ...; U+200B, U+00AD, which nobody sees, taken out",
    ]);
    expect(found('warning', { brand: '«Taxi»' })).toEqual([
      'the brand is changed before sending: U+00AB « becomes "; U+00BB » becomes "',
    ]);
  });

  it('is an accent that stands by itself', () => {
    expect(found('warning', { template: '{brand}: e\u0301 code {code}' })).toEqual([
      'the text is changed before sending: letters and their accents are joined (NFC)',
    ]);
  });

  it('is another number that a phone could take for the code', () => {
    expect(found('warning', { template: '{brand}: code {code}. Questions? Call 1080 or 20261120' })).toEqual([
      '1080 looks like a code too: phones may fill in that one',
      '20261120 looks like a code too: phones may fill in that one',
    ]);
    expect(found('warning', { brand: 'Taxi 1234' })).toHaveLength(1);
    expect(found('warning', { template: '{brand}: code {code}. 24/7, 123, +998901234567, again {code}' })).toEqual([]);
  });

  it.each([
    ['{brand} code {code}. https://example.com/x?y=1.', 'https://example.com/x?y=1'],
    ['{brand} code {code} or www.example.com', 'www.example.com'],
    ['{brand} code {code} bit.ly/2Abc', 'bit.ly/2Abc'],
    ['{brand} code {code}: my.shop.uz, ok', 'my.shop.uz'],
    ['{brand} code {code} example.com.', 'example.com'],
    ['{brand} {code} http://x.test/{code}', 'http://x.test/{code}'],
  ])('is a link: %s', (template, link) => {
    expect(found('warning', { template })).toContain(
      `${link} is a link: operators hold back codes with links, shortened ones above all`,
    );
  });

  it.each([
    '{brand} code {code}.Valid {minutes} min.Go',
    'code {code} a.m. {brand} 10.5',
    'code {code} x@y.com {brand}',
  ])('is not a dot: %s', (template) => {
    expect(found('warning', { template })).toEqual([]);
  });

  it('is not the domain of the ending', () => {
    expect(lint({ ending: { kind: 'web-otp', domain: 'example.com' } }).findings).toEqual([]);
  });

  it('is a letter that touches the code, in scripts with spaces between words', () => {
    expect(found('warning', { template: '{brand} code:{code}x' })).toEqual([
      'no space between the code and a letter: {code}x',
    ]);
    expect(found('warning', { locale: 'ru', template: '{brand} код{code}' })).toEqual([
      'no space between the code and a letter: д{code}',
    ]);
    expect(found('warning', { locale: 'ko', template: '[{brand}] 인증번호는{code}입니다' })).toEqual([]);
    expect(found('warning', { locale: 'zh', template: '【{brand}】验证码{code}请勿泄露' })).toEqual([]);
  });
});

describe('a hint about a text', () => {
  it('is a letter outside GSM-7 as long as the text is one segment', () => {
    const message = 'U+00F3 ó, U+00E1 á: outside GSM-7, so a segment holds 70 units instead of 160';
    expect(lint({ locale: 'es', template: defaultTexts.es }).findings).toEqual([{ level: 'hint', message }]);
    const template = `${defaultTexts.es} No lo comparta con nadie.`;
    expect(found('warning', { locale: 'es', template })).toContain(message);
    expect(found('hint', { locale: 'es', template })).toEqual([]);
  });

  it('is that no word for "code" is there, in the language of the text', () => {
    const message = (locale: string) =>
      `no word for "code" that we know of in '${locale}': phones may not offer to fill it in`;
    const template = '{brand}: {code}, {minutes} min.';
    expect(lint({ template }).findings).toEqual([{ level: 'hint', message: message('en') }]);
    expect(lint({ template }).autofill.ios).toBe(false);
    expect(found('hint', { locale: 'ru', template: defaultTexts.en })).toEqual([message('ru')]);
    expect(found('hint', { locale: 'ru-RU', template: '{brand} КОД {code}' })).toEqual([]);
    expect(found('hint', { locale: 'de', template: '{brand} Bestätigungscode {code}' })).toEqual([]);
    // Not in the brand: a phone needs it near the number.
    expect(found('hint', { template, brand: 'Codeworks' })).toEqual([message('en')]);
  });

  it('takes the word of any language where it knows none of the language itself', () => {
    expect(found('hint', { locale: 'id', template: '{brand}: kode Anda {code}' })).toEqual([]);
    expect(found('hint', { locale: 'id', template: '{brand}: {code}' })).toHaveLength(1);
  });

  it('is that the brand is missing', () => {
    expect(lint({ template: 'Your code: {code}' }).findings).toEqual([
      { level: 'hint', message: '{brand} is missing: nobody can tell whose code it is' },
    ]);
  });

  it('is a code that is longer than iOS fills in', () => {
    expect(lint({ codeLength: 8 }).findings).toEqual([]);
    expect(lint({ codeLength: 9 }).findings).toEqual([
      { level: 'hint', message: 'iOS fills in codes of 4 to 8 digits, this one has 9' },
    ]);
  });
});

describe('who fills the code in', () => {
  const domain = { kind: 'web-otp', domain: 'example.com' } as const;
  const hash = { kind: 'sms-retriever', appHash: 'FA+9qCX9VSu' } as const;

  it('is iOS and WebOTP with a domain, whatever the text says', () => {
    const expected = { ios: true, webOtp: true, smsRetriever: false };
    expect(lint({ ending: domain }).autofill).toEqual(expected);
    expect(lint({ ending: domain, template: '{brand} {code} 5555', codeLength: 10 }).autofill).toEqual(expected);
    expect(lint({ ending: domain, template: '{brand} 1{code}' }).autofill).toEqual(expected);
  });

  it('is an Android app with its hash, and iOS by the word for "code"', () => {
    expect(lint({ ending: hash }).autofill).toEqual({ ios: true, webOtp: false, smsRetriever: true });
    expect(lint({ ending: hash, template: '{brand} {code}' }).autofill).toMatchObject({
      ios: false,
      smsRetriever: true,
    });
  });

  it('is nobody where the code is missing or the ending is none', () => {
    const nobody = { ios: false, webOtp: false, smsRetriever: false };
    expect(lint({ template: '{brand} code', ending: hash }).autofill).toEqual(nobody);
    expect(lint({ template: '{brand} {code}', ending: { ...domain, domain: 'example' } }).autofill).toEqual(nobody);
    expect(lint({ template: '{brand} {code}', ending: { ...hash, appHash: '?' } }).autofill).toEqual(nobody);
  });

  it('is not iOS where another number could be meant', () => {
    expect(lint({ template: '{brand} code {code}, call 1080' }).autofill.ios).toBe(false);
  });
});

describe('the texts we bring along', () => {
  it.each(Object.entries(defaultTexts))('of %s end for a web page without an error', (locale, template) => {
    const ending = { kind: 'web-otp', domain: 'example.com' } as const;
    const { findings, autofill, segments } = lint({ locale, template, ending });
    expect(findings.filter(({ level }) => level === 'error')).toEqual([]);
    expect(autofill).toMatchObject({ ios: true, webOtp: true });
    if (measureText(normalizeText(template).replaceAll(/[{}]/g, '')).encoding === 'GSM-7') expect(segments).toBe(1);
  });
});

const order: readonly string[] = ['error', 'warning', 'hint'];
