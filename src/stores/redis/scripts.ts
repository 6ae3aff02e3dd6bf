import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type ScriptName =
  | 'start'
  | 'resend'
  | 'check'
  | 'settle-check'
  | 'approve'
  | 'cancel'
  | 'add-message'
  | 'take-budget'
  | 'record-dispatch'
  | 'record-email'
  | 'record-report'
  | 'find-report'
  | 'expect-report'
  | 'claim-due'
  | 'forget-due'
  | 'restore-message'
  | 'read'
  | 'find-api-key'
  | 'find-live'
  | 'erase'
  | 'take-history'
  | 'drop-history'
  | 'set-aside'
  | 'revive-begin'
  | 'revive-renew'
  | 'revive-leave'
  | 'revive-forget'
  | 'revive-merge'
  | 'revive-verifications'
  | 'revive-finish';

/** A piece that scripts share. */
export type PieceName = 'app' | 'limits' | 'guesses' | 'slots' | 'sending' | 'reports' | 'warm' | 'turn';

export type Script = {
  readonly name: ScriptName;
  readonly text: string;
  /** by which a server knows it */
  readonly sha: string;
};

const directory = join(import.meta.dirname, 'scripts');
const scripts = new Map<ScriptName, Script>();

/** A script with the pieces before it that its header names (`Needs: …`), in that order. */
export function scriptOf(name: ScriptName): Script {
  const known = scripts.get(name);
  if (known !== undefined) return known;
  const own = readFileSync(join(directory, `${name}.lua`), 'utf8');
  const needs = (/^-- Needs: (.+)$/m.exec(own)?.[1]?.split(' ') ?? []) as PieceName[];
  const text = [...needs.map(pieceOf), own].join('\n');
  const script = { name, text, sha: createHash('sha1').update(text).digest('hex') };
  scripts.set(name, script);
  return script;
}

export function pieceOf(name: PieceName): string {
  return readFileSync(join(directory, 'lib', `${name}.lua`), 'utf8');
}
