import { createHash, randomUUID } from 'node:crypto';
import { hexOfId, idOfHex } from '../../domain/id.ts';

/** Twilio's names of things are two letters and 128 bits in hexadecimal, and so are ours: no table is kept. */
export function sidOf(prefix: 'VE' | 'VL', id: string): string {
  return prefix + hexOfId(id);
}

export function verificationIdOf(sid: string): string | undefined {
  return sid.startsWith('VE') ? idOfHex('ver', sid.slice(2)) : undefined;
}

export function messageIdOf(sid: string): string | undefined {
  return sid.startsWith('VL') ? idOfHex('msg', sid.slice(2)) : undefined;
}

export function newSid(prefix: 'VA' | 'RK' | 'BL'): string {
  return prefix + randomUUID().replaceAll('-', '');
}

/** The same for the same parts, for what is found by something else than its sid. */
export function derivedSid(prefix: 'GN' | 'HJ' | 'MC', ...parts: readonly string[]): string {
  return prefix + createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
