import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { type Finding, fault, fine } from './finding.ts';

/** A `Date` header has whole seconds and a reply is under way for a while; beyond this it is the clock. */
const TOLERATED_MS = 30_000;
/** Countersign is younger than this, so no right clock shows less. */
const EARLIEST = Date.UTC(2025, 0, 1);
const SET_IT = 'Let the machine set its clock by NTP (`timedatectl set-ntp true`): codes and tokens live by it.';

/** What another machine's clock showed, and how far ours was from it then; ms, positive when ours is ahead. */
export type ClockSample = { readonly source: string; readonly aheadMs: number };

/**
 * Collects the `Date` headers of all answers while `work` runs. The requests are made anyway, so the comparison costs none.
 */
export async function sampleClocks(now: () => number, work: () => Promise<void>): Promise<readonly ClockSample[]> {
  const samples: ClockSample[] = [];
  const take = (host: string, date: string | undefined) => {
    const theirs = Date.parse(date ?? '');
    // Half a second: the header's seconds are cut off.
    if (!Number.isNaN(theirs)) samples.push({ source: `the Date header of ${host}`, aheadMs: now() - theirs - 500 });
  };
  const onHttp = (event: unknown) => {
    const { request, response } = event as { request: ClientRequest; response: IncomingMessage };
    take(request.host, response.headers.date);
  };
  const onFetch = (event: unknown) => {
    const { request, response } = event as { request: { origin: string | URL }; response: { headers: Buffer[] } };
    const at = response.headers.findIndex((header, index) => index % 2 === 0 && /^date$/i.test(String(header)));
    if (at !== -1) take(new URL(request.origin).hostname, String(response.headers[at + 1]));
  };
  subscribe('http.client.response.finish', onHttp);
  subscribe('undici:request:headers', onFetch);
  try {
    await work();
  } finally {
    unsubscribe('http.client.response.finish', onHttp);
    unsubscribe('undici:request:headers', onFetch);
  }
  return samples;
}

/**
 * Against others' clocks where somebody answered; else only that it has not gone back behind what was written last.
 * @param lastWriteAt when the database was written last, by this machine's clock of then; undefined without one
 */
export function clockFinding(now: number, samples: readonly ClockSample[], lastWriteAt: number | undefined): Finding {
  const shown = new Date(now).toISOString();
  if (now < EARLIEST) return fault('clock', `it shows ${shown}, which is long past`, SET_IT);
  // The one that is nearest: a single provider whose own clock is wrong proves nothing about ours.
  const [nearest] = samples.toSorted((a, b) => Math.abs(a.aheadMs) - Math.abs(b.aheadMs));
  if (nearest !== undefined) {
    const seconds = Math.round(Math.abs(nearest.aheadMs) / 1000);
    const compared = `compared with ${nearest.source}`;
    if (Math.abs(nearest.aheadMs) <= TOLERATED_MS)
      return fine('clock', `right to ${Math.max(1, seconds)} s, ${compared}`);
    return fault('clock', `it is ${seconds} s ${nearest.aheadMs > 0 ? 'ahead' : 'behind'}, ${compared}`, SET_IT);
  }
  if (lastWriteAt !== undefined && lastWriteAt - now > TOLERATED_MS) {
    const detail = `it shows ${shown}, and the database was written at ${new Date(lastWriteAt).toISOString()}: it was set back, or was wrong then`;
    return fault('clock', detail, SET_IT);
  }
  const basis =
    lastWriteAt === undefined
      ? 'after 2025; there was nothing to compare it with'
      : 'not behind the last write of the database; no other clock was asked';
  return fine('clock', `${shown} is ${basis}`);
}
