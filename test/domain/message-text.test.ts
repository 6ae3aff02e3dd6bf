import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { measureText, normalizeText, renderText, textFaults } from '../../src/domain/message-text.ts';

const values = { brand: 'Royal Taxi', code: '042917', minutes: 5 };

describe('filling a text in', () => {
  it('replaces every placeholder, as often as it stands there', () => {
    expect(renderText('{brand}: {code}, {minutes} min. {code}!', values)).toBe('Royal Taxi: 042917, 5 min. 042917!');
  });

  it('never expands what a value brought along', () => {
    const hostile = { brand: '{code}{minutes}', code: '{brand}', minutes: 5 };
    expect(renderText('{brand}|{code}|{minutes}', hostile)).toBe('{code}{minutes}|{brand}|5');
  });

  it('takes dollar signs as they are', () => {
    expect(renderText('{brand} {code}', { ...values, brand: "$& $1 $' $$" })).toBe("$& $1 $' $$ 042917");
  });

  it('leaves other braces alone', () => {
    expect(renderText('{Code} {} { code } {toString} {code', values)).toBe('{Code} {} { code } {toString} {code');
  });

  it('keeps what stands between the placeholders, whatever it is', () => {
    const text = fc.string({ unit: 'binary' }).filter((drawn) => !/[{}]/.test(drawn));
    fc.assert(
      fc.property(text, text, fc.string(), fc.string(), (before, between, brand, code) => {
        expect(renderText(`${before}{brand}${between}{code}`, { brand, code, minutes: 5 })).toBe(
          before + brand + between + code,
        );
      }),
    );
  });
});

describe('faults of a template', () => {
  it('finds none in a text that can be sent', () => {
    expect(textFaults('{brand} tasdiqlash kodi: {code}\nKod {minutes} daqiqa davomida amal qiladi.')).toEqual([]);
    expect(textFaults('{code}')).toEqual([]);
  });

  it.each([
    ['{cod}', 'code'],
    ['{Code}', 'code'],
    ['{ code }', 'code'],
    ['{brnad}', 'brand'],
    ['{BRAND}', 'brand'],
    ['{minute}', 'minutes'],
    ['{minuts}', 'minutes'],
  ])('names %s and the nearest placeholder, %s', (unknown, nearest) => {
    expect(textFaults(`{code} ${unknown}`)).toEqual([`${unknown} is no placeholder; did you mean ${nearest}?`]);
  });

  it('names all placeholders when none is near', () => {
    expect(textFaults('{code} {otp_code}')).toEqual(['{otp_code} is no placeholder; there are: brand, code, minutes']);
  });

  it('names an unknown placeholder once', () => {
    expect(textFaults('{code} {app} {app}')).toHaveLength(1);
  });

  it('wants a code', () => {
    expect(textFaults('{brand}: hello')).toEqual(['{code} is missing']);
    expect(textFaults('{brand}: {cdoe}')).toEqual([
      '{cdoe} is no placeholder; did you mean code?',
      '{code} is missing',
    ]);
  });

  it('wants a text', () => {
    expect(textFaults('')).toEqual(['the text is empty']);
    expect(textFaults(' \n\u00a0')).toEqual(['the text is empty']);
  });

  it('takes 1600 characters and not one more', () => {
    expect(textFaults('{code}'.padEnd(1600, 'a'))).toEqual([]);
    expect(textFaults('{code}'.padEnd(1601, 'a'))).toEqual(['the text has 1601 characters, 1600 are the most']);
  });

  it('is done at once with a placeholder of any length', () => {
    expect(textFaults(`{code}{${'x'.repeat(1500)}}`)).toHaveLength(1);
  });
});

describe('normalising a text', () => {
  it.each([
    ['oʻzbek, gʼisht, o‘, o’, o`, o´, oʹ', "o'zbek, g'isht, o', o', o', o', o'"],
    ['“a” «b» „c‟', '"a" "b" "c"'],
    ['1–2—3', '1-2-3'],
    ['wait…', 'wait...'],
    ['5\u00a0min\u202f10\u2009min\t.', '5 min 10 min .'],
    ['\ufeffa\u200bb\u200cc\u200dd\u200ee\u200ff', 'abcdef'],
    ['\u202ba\u202c\u2067b\u2069\u061c\u00ad', 'ab'],
    ['e\u0301 и\u0306', 'é й'],
    ['e\u200d\u0301', 'é'],
  ])('makes %j to %j', (text, normalized) => {
    expect(normalizeText(text)).toBe(normalized);
  });

  it('keeps line ends, letters and signs as they are', () => {
    const text = 'Ваш код: 1\r\nқ ғ ҳ ў ә ө ү رمز ç ş ğ ı € № ° 👍\n@example.com #123456';
    expect(normalizeText(text)).toBe(text);
  });

  it('brings an Uzbek text back into GSM-7', () => {
    const text = 'Agar siz bu kodni so‘ramagan bo‘lsangiz, bu xabarni e’tiborsiz qoldiring…';
    expect(measureText(text)).toMatchObject({ encoding: 'UCS-2', segments: 2 });
    expect(measureText(normalizeText(text))).toMatchObject({ encoding: 'GSM-7', segments: 1 });
  });

  it('does nothing the second time', () => {
    const character = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 1 }),
      fc.constantFrom(...'`´’«»…–\u200d\u0301\u1fef'),
    );
    fc.assert(
      fc.property(fc.string({ unit: character }), (text) => {
        const once = normalizeText(text);
        expect(normalizeText(once)).toBe(once);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('measuring a text', () => {
  it.each([
    ['', 1, 160],
    ['a'.repeat(160), 1, 0],
    ['a'.repeat(161), 2, 145],
    ['a'.repeat(306), 2, 0],
    ['a'.repeat(307), 3, 152],
    ['a'.repeat(459), 3, 0],
    ['a'.repeat(460), 4, 152],
  ])('counts GSM-7 by 160, then by 153 septets', (text, segments, unitsLeft) => {
    expect(measureText(text)).toEqual({ encoding: 'GSM-7', units: text.length, segments, unitsLeft });
  });

  it.each([
    ['я'.repeat(70), 1, 0],
    ['я'.repeat(71), 2, 63],
    ['я'.repeat(134), 2, 0],
    ['я'.repeat(135), 3, 66],
    ['я'.repeat(201), 3, 0],
    [`${'a'.repeat(69)}я`, 1, 0],
    [`${'a'.repeat(70)}я`, 2, 63],
  ])('counts UCS-2 by 70, then by 67 units', (text, segments, unitsLeft) => {
    expect(measureText(text)).toEqual({ encoding: 'UCS-2', units: text.length, segments, unitsLeft });
  });

  it('knows the 127 characters of the basic table, one septet each', () => {
    const basic =
      '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?' +
      '¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà';
    expect(new Set(basic).size).toBe(127);
    expect(measureText(basic)).toMatchObject({ encoding: 'GSM-7', units: 127 });
  });

  it.each([...'^{}\\[~]|€\f'])('counts two septets for %j', (character) => {
    expect(measureText(character)).toMatchObject({ encoding: 'GSM-7', units: 2 });
    expect(measureText(character.repeat(80))).toMatchObject({ units: 160, segments: 1 });
    expect(measureText(character.repeat(81))).toMatchObject({ units: 162, segments: 2 });
  });

  it.each([...'`\tçáíóúşğıİŞĞõÕ«»“”‘’„–—…№•°ʻʼ\u00a0\u200b\u200eякў٠،؟Α'])(
    'sends a text with %j as UCS-2',
    (character) => {
      expect(measureText(`code 123456 ${character}`).encoding).toBe('UCS-2');
    },
  );

  it('does not part an extended character between two segments', () => {
    // 152 septets, then a character of two: it moves on, and one septet of the first segment stays empty.
    expect(measureText(`${'a'.repeat(152)}€${'a'.repeat(151)}`)).toMatchObject({
      units: 305,
      segments: 2,
      unitsLeft: 0,
    });
    expect(measureText(`${'a'.repeat(152)}€${'a'.repeat(152)}`)).toMatchObject({ units: 306, segments: 3 });
    expect(measureText(`${'a'.repeat(151)}€${'a'.repeat(153)}`)).toMatchObject({ units: 306, segments: 2 });
  });

  it('does not part a surrogate pair between two segments', () => {
    expect(measureText('😀')).toEqual({ encoding: 'UCS-2', units: 2, segments: 1, unitsLeft: 68 });
    expect(measureText('😀'.repeat(35))).toMatchObject({ units: 70, segments: 1 });
    expect(measureText(`${'a'.repeat(66)}😀${'a'.repeat(65)}`)).toMatchObject({
      units: 133,
      segments: 2,
      unitsLeft: 0,
    });
    expect(measureText(`${'a'.repeat(66)}😀${'a'.repeat(66)}`)).toMatchObject({ units: 134, segments: 3 });
    // 33 pairs to a segment of 67: the last unit is lost.
    expect(measureText('😀'.repeat(67))).toMatchObject({ units: 134, segments: 3, unitsLeft: 65 });
  });

  it('measures the text of Royal Taxi as one segment', () => {
    const text =
      'Royal Taxi tasdiqlash kodi: 123456\nKod 5 daqiqa davomida amal qiladi.\n' +
      "Agar siz bu kodni so'ramagan bo'lsangiz, bu xabarni e'tiborsiz qoldiring.";
    expect(measureText(text)).toMatchObject({ encoding: 'GSM-7', segments: 1 });
  });

  it('never counts fewer segments than the units need, nor many more', () => {
    const character = fc.constantFrom('a', 'b', '€', '{', 'я', '😀', '\ud83d');
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 400 }), (text) => {
        const { encoding, units, segments, unitsLeft } = measureText(text);
        const [single, joined] = encoding === 'GSM-7' ? [160, 153] : [70, 67];
        const least = units <= single ? 1 : Math.ceil(units / joined);
        expect(segments).toBeGreaterThanOrEqual(least);
        expect(segments).toBeLessThanOrEqual(Math.ceil(units / (joined - 1)) || 1);
        const room = segments === 1 ? single : segments * joined;
        // What is missing are units left empty at the ends of segments, one at the most for each.
        expect(room - units - unitsLeft).toBeGreaterThanOrEqual(0);
        expect(room - units - unitsLeft).toBeLessThan(segments);
      }),
      { numRuns: 2_000 },
    );
  });
});
