// Texts of messages: what is filled in, which characters reach the network, and how many segments are billed for them.

import { nearestTo } from './nearest.ts';

const placeholders = ['brand', 'code', 'minutes'] as const;
type Placeholder = (typeof placeholders)[number];

/** What goes into a text. `minutes` is the life of the code, as the person is told it. */
export type TextValues = { readonly brand: string; readonly code: string; readonly minutes: number };

/** Twilio takes no longer body. Source: https://www.twilio.com/docs/api/errors/21617 */
const TEMPLATE_MAX_CHARS = 1600;

/**
 * Fills `{brand}`, `{code}` and `{minutes}` in. In one pass: a brand named `{code}` stays as it is. What else stands in
 * braces is left; `textFaults` has named it when the text was configured.
 */
export function renderText(template: string, values: TextValues): string {
  return template.replace(/\{(brand|code|minutes)\}/g, (_, name: Placeholder) => String(values[name]));
}

/** What is wrong with a template, one sentence each, for whoever configures it. Empty when it can be sent. */
export function textFaults(template: string): string[] {
  if (template.trim() === '') return ['the text is empty'];
  const faults: string[] = [];
  for (const [, name = ''] of template.matchAll(/\{([^{}]*)\}/g)) {
    if ((placeholders as readonly string[]).includes(name)) continue;
    faults.push(`{${name}} is no placeholder${nearestTo(name.trim().slice(0, 32), placeholders)}`);
  }
  if (!template.includes('{code}')) faults.push('{code} is missing');
  if (template.length > TEMPLATE_MAX_CHARS) {
    faults.push(`the text has ${template.length} characters, ${TEMPLATE_MAX_CHARS} are the most`);
  }
  return [...new Set(faults)];
}

/** Zero-width characters, bidi marks and soft hyphens. Nobody sees them, and one of them doubles the price of a Latin text. */
const INVISIBLE = /[\u00AD\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u2064\u2066-\u2069\uFEFF]/g;

/**
 * Characters outside GSM 7-bit that stand for an ASCII one: what the Uzbek o' and g' are typed with, quotation marks,
 * dashes, the ellipsis, spaces. Source of what GSM 7-bit holds: 3GPP TS 23.038, section 6.2.1.
 */
const lookalikes: readonly (readonly [characters: RegExp, ascii: string])[] = [
  [/[\u02BB\u02BC\u02B9\u2018\u2019\u201A\u201B\u2032\u0060\u00B4]/g, "'"],
  [/[\u201C\u201D\u201E\u201F\u00AB\u00BB\u2033]/g, '"'],
  [/[\u2010-\u2015\u2212]/g, '-'],
  [/\u2026/g, '...'],
  [/[\t\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]/g, ' '],
];

/**
 * The text as it is counted, sent and compared with a provider's approved template: NFC, lookalikes of ASCII replaced,
 * invisible characters gone. Letters stay what they are, line ends too. Twice does no more than once.
 */
export function normalizeText(text: string): string {
  // Invisible ones first: between a letter and its accent they would keep NFC from joining the two.
  let normalized = text.replace(INVISIBLE, '').normalize('NFC');
  for (const [characters, ascii] of lookalikes) normalized = normalized.replace(characters, ascii);
  return normalized;
}

export type TextMeasure = {
  readonly encoding: 'GSM-7' | 'UCS-2';
  /** Septets (GSM-7, extended characters count two) or UTF-16 code units (UCS-2). */
  readonly units: number;
  /** What the network bills; 1 for an empty text too. */
  readonly segments: number;
  /** Units that still fit into the last segment. */
  readonly unitsLeft: number;
};

// Lengths of one segment: 140 octets of user data, of which 6 are a header as soon as segments are joined (8-bit reference).
// Source: 3GPP TS 23.040, sections 9.2.3.16 and 9.2.3.24.1.
const GSM7_SEGMENT_SEPTETS = 160;
const GSM7_JOINED_SEGMENT_SEPTETS = 153;
const UCS2_SEGMENT_UNITS = 70;
const UCS2_JOINED_SEGMENT_UNITS = 67;

/** Source: 3GPP TS 23.038, section 6.2.1; without escape (0x1B), which is no character. In the order of the table. */
const GSM7_BASIC = new Set(
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà',
);

/**
 * Source: 3GPP TS 23.038, section 6.2.1.1. Each takes two septets, an escape and itself. The national language tables
 * (Turkish, Portuguese) are left out: gateways send such letters as UCS-2 unless told otherwise.
 */
const GSM7_EXTENSION = new Set('\f^{}\\[~]|€');

/**
 * Counts a text as networks do. A segment ends early rather than part the two septets of an extended character (GSM-7)
 * or the two units of a surrogate pair (UCS-2), so a text can need one segment more than its units say.
 */
export function measureText(text: string): TextMeasure {
  const characters = [...text];
  const isGsm7 = characters.every((character) => GSM7_BASIC.has(character) || GSM7_EXTENSION.has(character));
  return isGsm7
    ? measure('GSM-7', characters.map(septetsOf), GSM7_SEGMENT_SEPTETS, GSM7_JOINED_SEGMENT_SEPTETS)
    : measure('UCS-2', characters.map(unitsOf), UCS2_SEGMENT_UNITS, UCS2_JOINED_SEGMENT_UNITS);
}

function septetsOf(character: string): number {
  return GSM7_EXTENSION.has(character) ? 2 : 1;
}

function unitsOf(character: string): number {
  return character.length;
}

function measure(
  encoding: TextMeasure['encoding'],
  sizes: readonly number[],
  segmentUnits: number,
  joinedSegmentUnits: number,
): TextMeasure {
  const units = sizes.reduce((sum, size) => sum + size, 0);
  if (units <= segmentUnits) return { encoding, units, segments: 1, unitsLeft: segmentUnits - units };
  let segments = 1;
  let filled = 0;
  for (const size of sizes) {
    if (filled + size > joinedSegmentUnits) {
      segments += 1;
      filled = 0;
    }
    filled += size;
  }
  return { encoding, units, segments, unitsLeft: joinedSegmentUnits - filled };
}
