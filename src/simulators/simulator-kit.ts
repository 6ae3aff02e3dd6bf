import type { IncomingHttpHeaders } from 'node:http';

/**
 * What may go wrong on a vendor's side. The refusals take no message; all others but `drop-before-reading` *take* it
 * first, as a real outage does: the caller cannot know whether it went out.
 */
export const faultNames = [
  // refusals, in the vendor's own words
  'bad-number',
  'refuse-inside-2xx',
  'throttle',
  'credentials',
  'balance',
  'content',
  // an outage
  'server-error',
  // a 2xx that cannot be understood
  'garbage',
  'html',
  'empty',
  'invalid-utf8',
  'huge',
  'no-id',
  // the rest
  'redirect',
  'stall',
  'stall-in-body',
  'drop-before-reading',
  'drop-after-reading',
] as const;
export type FaultName = (typeof faultNames)[number];

/** Faults that the vendor words itself; not every vendor has each. */
export type RefusalName = 'bad-number' | 'refuse-inside-2xx' | 'throttle' | 'credentials' | 'balance' | 'content';

export type Fault =
  | FaultName
  /** Any answer at all; nothing is taken. */
  | { readonly kind: 'answer'; readonly answer: Answer }
  /** A good answer, late. */
  | { readonly kind: 'delay'; readonly delayMs: number };

/** A request as the simulator saw it. */
export type SeenRequest = {
  readonly method: string;
  /** without the query */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** Fields of a form body, of `multipart/form-data` too. */
  readonly form: Readonly<Record<string, string>>;
  /** A JSON body, parsed. */
  readonly json: unknown;
};

/** An object is answered as JSON, a text as it is, with `type`. */
export type Answer = {
  readonly status: number;
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** A message that the vendor took. */
export type SimulatedMessage = {
  readonly id: string;
  readonly to: string;
  /** what the person would read: the text, or the code in a channel with a wording of its own */
  readonly text: string;
  /** where reports of it go */
  readonly reportUrl: string | undefined;
  /** the request's own fields, for what a vendor repeats in its reports */
  readonly fields: Readonly<Record<string, unknown>>;
};

/** One delivery report. A list of them may repeat states or take them out of order, as the real ones do. */
export type DeliveryStep = {
  /** in the vendor's own word */
  readonly status: string;
  readonly errorCode?: string | number;
  readonly delayMs?: number;
  /** how often it is posted: duplicates are normal */
  readonly times?: number;
  /** with a signature that is not the vendor's, where there are signatures */
  readonly isForged?: boolean;
  /** posted before the request is answered */
  readonly isEarly?: boolean;
};

/** A delivery report as the vendor posts it. */
export type PostedReport = {
  readonly method?: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** A report that was posted, and the status that it was answered with: 0 when nobody answered. */
export type ReportLine = { readonly id: string; readonly status: string; readonly answer: number };

export type SimulatorOptions = {
  /** 0, the default, takes a free one */
  readonly port?: number;
  readonly host?: string;
  /** what becomes of each message, unless `deliver` says otherwise; the vendor's "delivered" when absent */
  readonly delivery?: readonly DeliveryStep[];
  /** where reports go, for vendors that learn it from their support or dashboard and not from the request */
  readonly reportUrl?: string;
  /** is told of each message that is taken */
  readonly onMessage?: (message: SimulatedMessage) => void;
};

/** A vendor on this machine, over real connections. */
export interface Simulator {
  /** what `<PROVIDER>_BASE_URL` is to be */
  readonly url: string;
  /** what may go wrong here; all of `faultNames` where it is absent */
  readonly faults?: readonly FaultName[];
  readonly requests: readonly SeenRequest[];
  readonly messages: readonly SimulatedMessage[];
  readonly reports: readonly ReportLine[];
  /** The next requests get these, in this order; later ones are treated well again. */
  behave(...faults: readonly Fault[]): void;
  /** All requests get this, until it is told otherwise. */
  behaveAlways(fault: Fault | undefined): void;
  /** What becomes of the next message. */
  deliver(...steps: readonly DeliveryStep[]): void;
  /** Resolves when the `count`-th request since the start has been read. */
  received(count: number): Promise<void>;
  /** Resolves when no report is under way any more. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** A vendor that can be simulated, for tests and for `countersign simulate`. */
export type SimulatorDefinition = {
  /** the provider's id */
  readonly id: string;
  /** the environment with which Countersign talks to the simulator at `url` */
  readonly environment: (url: string) => Readonly<Record<string, string>>;
  readonly start: (options?: SimulatorOptions) => Promise<Simulator>;
};

/** Ends early when the simulator closes. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, signal.aborted ? 0 : ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}
