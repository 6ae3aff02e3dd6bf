import type { Static, TObject } from 'typebox';
import type { ProblemCode, Refusal } from '../../domain/problem.ts';
import type { Approved, CheckAnswer } from '../../service/check-verification.ts';
import type { NumberView } from '../../service/countersign.ts';
import type { SendAnswer } from '../../service/send-code.ts';
import type { StartRequest } from '../../service/start-verification.ts';
import type { SignInAnswer } from '../../service/users.ts';
import type { VerificationView } from '../../service/views.ts';
import { retryAfterSecondsOf } from '../problem.ts';

/** What an old back end would have answered. */
export type DialectAnswer = {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
};

/** What is wrong with a body, before its route sees it. */
export type BodyFault =
  | { readonly kind: 'media-type'; readonly mediaType: string }
  /** no JSON */
  | { readonly kind: 'unreadable' }
  /** there is none */
  | { readonly kind: 'empty' }
  /** JSON, but no object */
  | { readonly kind: 'not-an-object'; readonly value: unknown }
  | { readonly kind: 'missing' | 'null' | 'not-a-string' | 'not-an-integer' | 'pattern'; readonly field: string }
  | { readonly kind: 'too-short' | 'too-long'; readonly field: string; readonly chars: number };

/** How a web framework says no: the shapes that a back end built on it never wrote itself. */
export type Framework = {
  /** What the framework makes of a field before it is looked at; as it came when absent. */
  readonly coerce?: (value: unknown) => unknown;
  /**
   * @param faults at least one; those of fields in the order of the schema
   * @param required the fields that there must be
   */
  invalid(faults: readonly BodyFault[], required: readonly string[]): DialectAnswer;
  /** A refusal that the dialect has no words of its own for. */
  refused(refusal: Refusal): DialectAnswer;
  unauthorized(why: 'missing' | 'invalid' | 'expired'): DialectAnswer;
  wrongMethod(method: string): DialectAnswer;
  failed(): DialectAnswer;
};

/** The signed-in user that a bearer token speaks of. */
export type Caller = {
  readonly subject: string;
  readonly locale: string | undefined;
  readonly email: string | undefined;
};

/** The service as a dialect sees it: of its app alone, and for the person at the other end of the socket. */
export type DialectService = {
  /**
   * Sends a code. `code` is in the answer only in development mode, and only when the inbox took the message: a code
   * that a real provider took is never shown.
   */
  start(request: Omit<StartRequest, 'app' | 'clientIp'>): Promise<SendAnswer>;
  /** By number, or by the signed-in subject. */
  check(
    request:
      | { readonly to: string; readonly country?: string; readonly code: string; readonly purpose?: string }
      | { readonly subject: string; readonly code: string; readonly purpose?: string },
  ): Promise<CheckAnswer>;
  /** The user of the approved number, found or made, with an access token. */
  signIn(approved: Approved): Promise<SignInAnswer>;
  /** What is known of a number without asking anybody: country, market, language. */
  parse(to: string, country?: string): { readonly kind: 'parsed'; readonly number: NumberView } | Refusal;
  /** Why a start for that number would be refused, as far as configuration says: its country, or that there is no provider. */
  whyNotTo(to: string): Refusal | undefined;
  /** What is left of the code's life, in whole seconds. */
  secondsLeft(verification: VerificationView): number;
};

export type DialectRequest<Body, SignedIn extends boolean = boolean> = {
  readonly body: Body;
  /** whom the bearer token speaks of; only on routes that ask for one */
  readonly caller: SignedIn extends true ? Caller : undefined;
  /** what the client would like to read, by its Accept-Language */
  readonly language: string | undefined;
  readonly service: DialectService;
};

export type DialectRoute = {
  readonly method?: 'POST' | 'PUT';
  /** without a slash at its end; it is served with one as well */
  readonly path: string;
  /** the fields that it needs; others are let pass, as most frameworks do */
  readonly body: TObject;
  /** only for callers with a bearer token */
  readonly signedIn?: boolean;
  /** A refusal that the route has no words for goes to the dialect, then to the framework. */
  handle(request: DialectRequest<never>): Promise<DialectAnswer | Refusal>;
};

/** Paths, shapes, words and status numbers of an existing back end. It decides nothing: the service does. */
export type Dialect = {
  readonly id: string;
  readonly framework: Framework;
  /** the back end's own words for a refusal that a route does not word itself; undefined leaves it to the framework */
  readonly refused?: (refusal: Refusal) => DialectAnswer | undefined;
  /** the back end's own words for a body that is wrong; undefined leaves it to the framework */
  readonly invalid?: (faults: readonly BodyFault[]) => DialectAnswer | undefined;
  readonly routes: readonly DialectRoute[];
};

/** Types a dialect; gives back what it is given. See docs/write-a-dialect.md. */
export function defineDialect(dialect: Dialect): Dialect {
  return dialect;
}

/** Types one route by its body's schema. */
export function dialectRoute<Body extends TObject, SignedIn extends boolean = false>(
  route: Omit<DialectRoute, 'body' | 'signedIn' | 'handle'> & {
    readonly body: Body;
    readonly signedIn?: SignedIn;
    handle(request: DialectRequest<Static<Body>, SignedIn>): Promise<DialectAnswer | Refusal>;
  },
): DialectRoute {
  return route as unknown as DialectRoute;
}

/** 200 with that body. */
export function ok(body: object): DialectAnswer {
  return { status: 200, body };
}

/** @param refusal whose `Retry-After` goes along */
export function answer(status: number, body: object, refusal?: Refusal): DialectAnswer {
  const seconds = refusal === undefined ? undefined : retryAfterSecondsOf(refusal);
  return seconds === undefined ? { status, body } : { status, body, headers: { 'retry-after': String(seconds) } };
}

/** What an old back end would have told apart; `other` are faults of the request's shape and of the service. */
export type RefusalKind = 'number' | 'code' | 'wrong-code' | 'too-many' | 'not-sent' | 'no-provider' | 'other';

const kinds: Partial<Record<ProblemCode, RefusalKind>> = {
  'number-invalid': 'number',
  'line-type-refused': 'number',
  'country-not-allowed': 'number',
  'recipient-refused': 'number',
  'code-malformed': 'code',
  'code-wrong': 'wrong-code',
  'verification-unknown': 'wrong-code',
  'verification-expired': 'wrong-code',
  'verification-settled': 'wrong-code',
  'attempts-exhausted': 'wrong-code',
  'rate-limited': 'too-many',
  'resend-too-early': 'too-many',
  'sends-exhausted': 'too-many',
  'number-locked': 'too-many',
  'budget-spent': 'too-many',
  'delivery-failed': 'not-sent',
  'check-unanswered': 'not-sent',
  'no-provider': 'no-provider',
};

/** Few words where the service has many: most back ends answer a dozen refusals with five sentences. */
export function kindOf({ code }: Refusal): RefusalKind {
  return kinds[code] ?? 'other';
}
