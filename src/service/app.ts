import type { CountryCode } from '../domain/phone-number.ts';
import type { Channel } from '../domain/provider.ts';
import type { LimitRule } from '../domain/rate-limit.ts';

/** A caller with its own brand, texts, routes and limits, every default filled in. */
export type App = {
  readonly id: string;
  readonly brand: string;
  /** for numbers written in a national form */
  readonly country: CountryCode | undefined;
  /** when neither the request nor the number's country says a language */
  readonly locale: string | undefined;
  readonly codeLength: number;
  readonly codeTtlMs: number;
  readonly maxAttempts: number;
  readonly maxSends: number;
  readonly resend: 'repeat' | 'replace';
  readonly resendAfterSeconds: readonly number[];
  readonly channel: Channel;
  readonly texts: ReadonlyMap<string, string>;
  /** provider ids by country, `*` for all others */
  readonly routes: ReadonlyMap<string, readonly string[]>;
  readonly allowedCountries: ReadonlySet<string> | undefined;
  readonly limits: {
    readonly perNumber: readonly LimitRule[];
    readonly perAddress: readonly LimitRule[];
    readonly perPrefix: readonly LimitRule[];
    readonly perApp: readonly LimitRule[];
    readonly messagesPerNumber: readonly LimitRule[];
  };
  readonly guesses: { readonly max: number; readonly windowMs: number };
};
