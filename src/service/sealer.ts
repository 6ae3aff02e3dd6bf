import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { subkey } from '../domain/code.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Keeps small secrets in the store so that a stolen database does not give them away: AES-256-GCM, nonce ‖ tag ‖ text. */
export type Sealer = {
  /** @param bound what the secret belongs to; opening it under another name fails */
  seal(plain: Uint8Array | string, bound: string): Uint8Array;
  /** @throws when the key is another one or the bytes were changed */
  open(sealed: Uint8Array, bound: string): Buffer;
};

export function createSealer(secret: string, randomBytes: (length: number) => Uint8Array): Sealer {
  const key: KeyObject = subkey(secret, 'countersign seal');
  return {
    seal(plain, bound) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(bound));
      const sealed = Buffer.concat([cipher.update(plain as string), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
    },
    open(sealed, bound) {
      const nonce = sealed.subarray(0, NONCE_BYTES);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(bound));
      decipher.setAuthTag(sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
    },
  };
}
