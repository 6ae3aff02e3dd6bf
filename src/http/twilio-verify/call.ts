import type { App } from '../../service/app.ts';
import type { Countersign } from '../../service/countersign.ts';
import { notFound, type TwilioError } from './errors.ts';
import type { Form } from './forms.ts';

/** A request of an app that said who it is. */
export type Call = {
  readonly app: App;
  readonly accountSid: string;
  readonly countersign: Countersign;
  readonly form: Form;
  readonly query: Form;
  readonly params: Readonly<Record<string, string>>;
  /** the path without the version, as it was asked for */
  readonly resource: string;
  /** where this server is, for links */
  readonly origin: string;
  /** ms since the epoch */
  readonly now: number;
};

export type Answer = {
  readonly status: number;
  readonly body?: object;
  readonly headers?: Readonly<Record<string, string>>;
};

export type Handler = (call: Call) => Promise<Answer>;

/** A path under `/v2`, and what can be done there. */
export type Path = {
  readonly path: string;
  readonly GET?: Handler;
  readonly POST?: Handler;
  readonly DELETE?: Handler;
};

export const ok = (body: object): Answer => ({ status: 200, body });
export const created = (body: object): Answer => ({ status: 201, body });
export const removed = (): Answer => ({ status: 204 });

export function missing({ resource }: Call): TwilioError {
  return notFound(resource);
}

export function paramOf({ params }: Call, name: string): string {
  return params[name] ?? '';
}

export function urlOf({ origin }: Pick<Call, 'origin'>, path: string): string {
  return `${origin}/v2${path}`;
}

/** Twilio's way to write a moment: without milliseconds. */
export function dateOf(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');
}
