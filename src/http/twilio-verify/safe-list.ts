import type { Resource } from '../../domain/store.ts';
import { type Call, created, missing, ok, type Path, paramOf, removed, urlOf } from './call.ts';
import { toTwilioError } from './errors.ts';
import { derivedSid } from './sids.ts';

const KIND = 'verify-safe-number';
const MOST_NUMBERS = 100_000;

/** Numbers that the limit of their block does not stop, as Twilio's Fraud Guard lets those on its list pass. */
export const safeListPaths: readonly Path[] = [
  {
    path: '/SafeList/Numbers',
    async POST(call) {
      const { countersign, app, form } = call;
      form.required('PhoneNumber');
      const number = numberOf(call, form.recipient('PhoneNumber') ?? '');
      const request = { app: app.id, kind: KIND, id: sidFor(call, number) };
      await countersign.resources.add({ ...request, body: { phone_number: number }, most: MOST_NUMBERS });
      // Who adds a number twice gets what there is.
      const kept = await countersign.resources.get(request);
      if (kept === undefined) throw missing(call);
      return created(toBody(call, kept));
    },
  },
  {
    path: '/SafeList/Numbers/:number',
    async GET(call) {
      const { countersign, app } = call;
      const found = await countersign.resources.get({ app: app.id, kind: KIND, id: sidOfPath(call) });
      if (found === undefined) throw missing(call);
      return ok(toBody(call, found));
    },
    async DELETE(call) {
      const { countersign, app } = call;
      if (!(await countersign.resources.remove({ app: app.id, kind: KIND, id: sidOfPath(call) }))) throw missing(call);
      return removed();
    },
  },
];

/** @param number E.164 */
export async function isSafe(call: Pick<Call, 'countersign' | 'app'>, number: string): Promise<boolean> {
  const { countersign, app } = call;
  return (await countersign.resources.get({ app: app.id, kind: KIND, id: sidFor(call, number) })) !== undefined;
}

/** By the number or by the sid, whichever the path names. */
function sidOfPath(call: Call): string {
  const named = paramOf(call, 'number');
  if (named.startsWith('GN')) return named;
  const parsed = call.countersign.numbers.parse({ app: call.app.id, to: named });
  if (parsed.kind === 'refused') throw missing(call);
  return sidFor(call, parsed.number.number);
}

function sidFor({ app }: Pick<Call, 'app'>, number: string): string {
  return derivedSid('GN', app.id, number);
}

function numberOf({ countersign, app, resource }: Call, text: string): string {
  const parsed = countersign.numbers.parse({ app: app.id, to: text });
  if (parsed.kind === 'refused') throw toTwilioError({ ...parsed, field: 'PhoneNumber' }, resource);
  return parsed.number.number;
}

function toBody(call: Call, { id, body }: Resource) {
  const number = String(body['phone_number']);
  return { sid: id, phone_number: number, url: urlOf(call, `/SafeList/Numbers/${number}`) };
}
