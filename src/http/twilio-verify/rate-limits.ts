import type { Resource } from '../../domain/store.ts';
import type { NamedLimit } from '../../service/request.ts';
import { type Call, created, dateOf, missing, ok, type Path, paramOf, removed, urlOf } from './call.ts';
import { TwilioError } from './errors.ts';
import { resourcesOf, sliceAnswer } from './lists.ts';
import { type Service, serviceOf } from './services.ts';
import { newSid } from './sids.ts';

const LIMIT = 'verify-rate-limit';
const BUCKET = 'verify-bucket';
/** As many as Twilio allows. Source: https://www.twilio.com/docs/verify/api/service-rate-limits (read 2026-11-20). */
const MOST_LIMITS = 10;
const MOST_BUCKETS = 5;
const MAX_EVENTS = 1_000_000;
const MAX_INTERVAL_SECONDS = 30 * 86_400;

export const rateLimitPaths: readonly Path[] = [
  {
    path: '/Services/:service/RateLimits',
    async GET(call) {
      const { sid } = await serviceOf(call);
      const limits = await resourcesOf(call, LIMIT, sid);
      const bodies = limits.map((each) => toLimit(call, each));
      return sliceAnswer(call, `/Services/${sid}/RateLimits`, 'rate_limits', bodies);
    },
    async POST(call) {
      const { sid } = await serviceOf(call);
      const { countersign, app, form } = call;
      const name = form.required('UniqueName');
      if (!/^[A-Za-z0-9._-]+$/.test(name))
        throw new TwilioError(
          60209,
          'The unique name of a rate limit takes letters, digits, dots, dashes and underscores',
        );
      const added = await countersign.resources.add({
        app: app.id,
        kind: LIMIT,
        id: newSid('RK'),
        parent: sid,
        uniqueKey: name,
        body: { unique_name: name, description: form.text('Description') ?? null },
        most: MOST_LIMITS,
      });
      switch (added.kind) {
        case 'added':
          return created(toLimit(call, added.resource));
        case 'exists':
          throw new TwilioError(60208, 'A rate limit with this unique name exists already');
        case 'too-many':
          throw new TwilioError(60207, `A service may have ${MOST_LIMITS} rate limits`);
        case 'orphan':
          throw missing(call);
      }
    },
  },
  {
    path: '/Services/:service/RateLimits/:limit',
    async GET(call) {
      return ok(toLimit(call, await limitOf(call)));
    },
    async POST(call) {
      const { countersign, app, form } = call;
      const { id } = await limitOf(call);
      const description = form.text('Description');
      const body = description === undefined ? {} : { description };
      const updated = await countersign.resources.update({ app: app.id, kind: LIMIT, id, body });
      if (updated.kind !== 'updated') throw missing(call);
      return ok(toLimit(call, updated.resource));
    },
    async DELETE(call) {
      const { countersign, app } = call;
      const { id } = await limitOf(call);
      if (!(await countersign.resources.remove({ app: app.id, kind: LIMIT, id }))) throw missing(call);
      return removed();
    },
  },
  {
    path: '/Services/:service/RateLimits/:limit/Buckets',
    async GET(call) {
      const { id, parent } = await limitOf(call);
      const buckets = await resourcesOf(call, BUCKET, id);
      const bodies = buckets.map((each) => toBucket(call, each));
      return sliceAnswer(call, `/Services/${parent}/RateLimits/${id}/Buckets`, 'buckets', bodies);
    },
    async POST(call) {
      const { countersign, app, form } = call;
      const { id: parent } = await limitOf(call);
      form.required('Max');
      form.required('Interval');
      const rule = ruleOf(call);
      const added = await countersign.resources.add({
        app: app.id,
        kind: BUCKET,
        id: newSid('BL'),
        parent,
        uniqueKey: String(rule.interval),
        body: rule,
        most: MOST_BUCKETS,
      });
      switch (added.kind) {
        case 'added':
          return created(toBucket(call, added.resource));
        case 'exists':
          throw intervalExists();
        case 'too-many':
          throw new TwilioError(60210, `A rate limit may have ${MOST_BUCKETS} buckets`);
        case 'orphan':
          throw missing(call);
      }
    },
  },
  {
    path: '/Services/:service/RateLimits/:limit/Buckets/:bucket',
    async GET(call) {
      return ok(toBucket(call, await bucketOf(call)));
    },
    async POST(call) {
      const { countersign, app } = call;
      const { id } = await bucketOf(call);
      const rule = ruleOf(call);
      const updated = await countersign.resources.update({
        app: app.id,
        kind: BUCKET,
        id,
        body: rule,
        ...(rule.interval === undefined ? {} : { uniqueKey: String(rule.interval) }),
      });
      if (updated.kind === 'exists') throw intervalExists();
      if (updated.kind !== 'updated') throw missing(call);
      return ok(toBucket(call, updated.resource));
    },
    async DELETE(call) {
      const { countersign, app } = call;
      const { id } = await bucketOf(call);
      if (!(await countersign.resources.remove({ app: app.id, kind: BUCKET, id }))) throw missing(call);
      return removed();
    },
  },
];

const MOST_VALUES = 50;
const MAX_VALUE_CHARS = 255;

/** The limits that a request has to pass, with the name of each; names that the service has no limit for are let be. */
export async function limitsFor(
  call: Call,
  { sid }: Service,
): Promise<{ readonly limits: readonly NamedLimit[]; readonly nameOf: (limit: string) => string | undefined }> {
  const values = call.form.pairs('RateLimits', { most: MOST_VALUES, maxChars: MAX_VALUE_CHARS });
  const names = new Map<string, string>();
  if (values === undefined) return { limits: [], nameOf: (limit) => names.get(limit) };
  const limits: NamedLimit[] = [];
  for (const { id, body } of await resourcesOf(call, LIMIT, sid)) {
    const name = String(body['unique_name']);
    const value = values.get(name);
    if (value === undefined) continue;
    const buckets = await resourcesOf(call, BUCKET, id);
    const rules = buckets.map((each) => ({
      max: Number(each.body['max']),
      windowMs: Number(each.body['interval']) * 1000,
    }));
    names.set(id, name);
    // By the sid: two services may have limits of one name, and what was deleted begins anew.
    if (rules.length > 0) limits.push({ name: id, value, rules });
  }
  return { limits, nameOf: (limit) => names.get(limit) };
}

async function limitOf(call: Call): Promise<Resource> {
  const { countersign, app } = call;
  const found = await countersign.resources.get({ app: app.id, kind: LIMIT, id: paramOf(call, 'limit') });
  if (found === undefined || found.parent !== paramOf(call, 'service')) throw missing(call);
  return found;
}

async function bucketOf(call: Call): Promise<Resource> {
  const { countersign, app } = call;
  const { id: parent } = await limitOf(call);
  const found = await countersign.resources.get({ app: app.id, kind: BUCKET, id: paramOf(call, 'bucket') });
  if (found === undefined || found.parent !== parent) throw missing(call);
  return found;
}

function ruleOf({ form }: Call): { max?: number; interval?: number } {
  const max = form.integer('Max', 1, MAX_EVENTS);
  const interval = form.integer('Interval', 1, MAX_INTERVAL_SECONDS);
  return { ...(max === undefined ? {} : { max }), ...(interval === undefined ? {} : { interval }) };
}

function intervalExists(): TwilioError {
  return new TwilioError(60211, 'A bucket with this interval exists already');
}

function toLimit(call: Call, { id, parent, body, createdAt, updatedAt }: Resource) {
  const url = urlOf(call, `/Services/${parent}/RateLimits/${id}`);
  return {
    sid: id,
    service_sid: parent,
    account_sid: call.accountSid,
    unique_name: body['unique_name'],
    description: body['description'],
    date_created: dateOf(createdAt),
    date_updated: dateOf(updatedAt),
    url,
    links: { buckets: `${url}/Buckets` },
  };
}

function toBucket(call: Call, { id, parent, body, createdAt, updatedAt }: Resource) {
  const service = paramOf(call, 'service');
  return {
    sid: id,
    rate_limit_sid: parent,
    service_sid: service,
    account_sid: call.accountSid,
    max: body['max'],
    interval: body['interval'],
    date_created: dateOf(createdAt),
    date_updated: dateOf(updatedAt),
    url: urlOf(call, `/Services/${service}/RateLimits/${parent}/Buckets/${id}`),
  };
}
