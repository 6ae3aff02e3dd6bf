import { createHmac, timingSafeEqual } from 'node:crypto';

/** Takes the same time wherever the two differ. */
export function isSame(given: string, expected: string): boolean {
  const [left, right] = [Buffer.from(given), Buffer.from(expected)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** @param encoding how the vendor writes its signature */
export function hmac(
  algorithm: 'md5' | 'sha1' | 'sha256' | 'sha512',
  key: string | Uint8Array,
  data: string | Uint8Array,
  encoding: 'hex' | 'base64',
): string {
  return createHmac(algorithm, key).update(data).digest(encoding);
}
