import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

/** How many digits a code may have. */
export const CODE_LENGTHS = { min: 4, max: 10, default: 6 } as const;

/** What the installation's secret is split into, so that no key serves two purposes. */
export type CodeKeys = {
  /** makes codes out of nonces */
  readonly derive: KeyObject;
  /** makes digests out of codes */
  readonly digest: KeyObject;
  /** makes fingerprints out of requests, which may hold a code of the caller's own */
  readonly fingerprint: KeyObject;
};

export function codeKeysFrom(secret: string): CodeKeys {
  return {
    derive: subkey(secret, 'countersign code'),
    digest: subkey(secret, 'countersign digest'),
    fingerprint: subkey(secret, 'countersign fingerprint'),
  };
}

/** A 256-bit key for one purpose out of the installation's secret (HKDF, RFC 5869). */
export function subkey(secret: string, purpose: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', purpose, 32)));
}

/**
 * The `codeNumber`-th code of a verification: HOTP (RFC 4226, section 5.3) with HMAC-SHA-256 over nonce and counter.
 * The same arguments give the same code again, so it can be sent once more after a crash or through another provider,
 * and nothing that is stored gives it away without the key. The bias of the last step is below 0.05 % for 6 digits.
 */
export function deriveCode(keys: CodeKeys, nonce: Uint8Array, codeNumber: number, length: number): string {
  const mac = createHmac('sha256', keys.derive).update(nonce).update(String(codeNumber)).digest();
  const offset = (mac[31] ?? 0) & 15;
  // 48 bits instead of RFC 4226's 31: ten digits need more than 31 bits, and the bias gets smaller still.
  return String(mac.readUIntBE(offset, 6) % 10 ** length).padStart(length, '0');
}

/**
 * Keyed: a plain hash of six digits gives way to a million guesses once the table leaks. `bound` names what the code
 * is for, so a digest copied to another row is worth nothing.
 */
export function digestCode(keys: CodeKeys, bound: string, code: string): Uint8Array {
  // 128 bits: compared for equality only, so nothing is gained by storing more.
  return createHmac('sha256', keys.digest).update(`${bound}\n${code}`).digest().subarray(0, 16);
}

/** Spaces, dashes, and what nobody sees: marks of direction and zero-width characters come along with a copied code. */
const SEPARATORS = /[\s\p{Pd}\u2212\u00AD\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F]/gu;

const eastern = /[٠-٩۰-۹०-९０-９]/g;
const easternZeros = [0x0660, 0x06f0, 0x0966, 0xff10];

/**
 * What a person typed, as ASCII digits: phones write `١٢٣٤٥٦` on Arabic keyboards, and people copy `123 456` or `123-456`.
 * @returns undefined when it is not a code of such a length, which costs no attempt
 */
export function normalizeCode(typed: string, min: number, max = min): string | undefined {
  if (typed.length > 40) return undefined;
  const digits = typed
    .replace(eastern, (digit) => {
      const point = digit.charCodeAt(0);
      const zero = easternZeros.find((start) => point >= start && point < start + 10) ?? point;
      return String(point - zero);
    })
    .replace(SEPARATORS, '');
  return digits.length >= min && digits.length <= max && /^\d+$/.test(digits) ? digits : undefined;
}
