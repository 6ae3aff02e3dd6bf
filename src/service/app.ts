import type { CountryCode } from '../domain/phone-number.ts';
import type { Channel } from '../domain/provider.ts';
import type { LimitRule } from '../domain/rate-limit.ts';
import type { Routes } from '../domain/route.ts';

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
  readonly routes: Routes;
  /** how texts may end so that a phone fills the code in */
  readonly autofill: { readonly domain: string | undefined; readonly appHashes: readonly string[] };
  /** what a UTC day may cost; `warnMicros` is when somebody is told */
  readonly budget: { readonly maxMicros: number; readonly warnMicros: number; readonly currency: string } | undefined;
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
