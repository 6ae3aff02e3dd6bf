import type { Market } from '../domain/market.ts';
import type { CountryCode } from '../domain/phone-number.ts';
import type { Channel } from '../domain/provider.ts';
import type { LimitRule } from '../domain/rate-limit.ts';
import type { Routes } from '../domain/route.ts';
import type { BearerSettings } from './bearers.ts';

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
  /** sets of countries with a language and a lifetime; when there are any, numbers of no market are refused */
  readonly markets: readonly Market[];
  /** how the tokens of its signed-in callers are checked; undefined where no route asks for one */
  readonly bearer: BearerSettings | undefined;
  /** the credentials under which it is called as Twilio Verify is */
  readonly twilioVerify:
    | {
        readonly accountSid: string;
        readonly authToken: string | undefined;
        /** sids of services that are there from the start */
        readonly services: readonly string[];
      }
    | undefined;
  /** what the caller of a start or resend learns when no provider takes the code: that, or nothing, and it is tried again */
  readonly sendFailures: 'tell' | 'retry';
  /** may landlines be sent texts? Some networks read them aloud */
  readonly allowLandlines: boolean;
  readonly guesses: { readonly max: number; readonly windowMs: number };
};
