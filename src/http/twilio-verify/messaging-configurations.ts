import { getCountries } from 'libphonenumber-js/max';
import type { Resource } from '../../domain/store.ts';
import { type Call, created, dateOf, missing, ok, type Path, paramOf, removed, urlOf } from './call.ts';
import { invalid, TwilioError } from './errors.ts';
import { resourcesOf, sliceAnswer } from './lists.ts';
import { serviceOf } from './services.ts';
import { derivedSid } from './sids.ts';

const KIND = 'verify-messaging-configuration';
const ALL = 'all';
const countries = new Set<string>(getCountries());

/** They are kept and shown; which provider sends where is what the configuration's routes say. */
export const messagingConfigurationPaths: readonly Path[] = [
  {
    path: '/Services/:service/MessagingConfigurations',
    async GET(call) {
      const { sid } = await serviceOf(call);
      const kept = await resourcesOf(call, KIND, sid);
      const bodies = kept.map((each) => toBody(call, each));
      return sliceAnswer(call, `/Services/${sid}/MessagingConfigurations`, 'messaging_configurations', bodies);
    },
    async POST(call) {
      const { sid } = await serviceOf(call);
      const { countersign, app, form } = call;
      const country = countryOf(form.required('Country'));
      if (country === undefined) throw invalid('Country', 'it must be a country code of ISO 3166-1, or all');
      const added = await countersign.resources.add({
        app: app.id,
        kind: KIND,
        id: derivedSid('MC', sid, country),
        parent: sid,
        uniqueKey: country,
        body: { country, messaging_service_sid: messagingServiceOf(call) },
      });
      if (added.kind === 'exists')
        throw new TwilioError(60213, 'A messaging configuration for this country exists already');
      if (added.kind !== 'added') throw missing(call);
      return created(toBody(call, added.resource));
    },
  },
  {
    path: '/Services/:service/MessagingConfigurations/:country',
    async GET(call) {
      return ok(toBody(call, await configurationOf(call)));
    },
    async POST(call) {
      const { countersign, app } = call;
      const { id } = await configurationOf(call);
      const body = { messaging_service_sid: messagingServiceOf(call) };
      const updated = await countersign.resources.update({ app: app.id, kind: KIND, id, body });
      if (updated.kind !== 'updated') throw missing(call);
      return ok(toBody(call, updated.resource));
    },
    async DELETE(call) {
      const { countersign, app } = call;
      const { id } = await configurationOf(call);
      if (!(await countersign.resources.remove({ app: app.id, kind: KIND, id }))) throw missing(call);
      return removed();
    },
  },
];

/** In the way it is written everywhere. */
function countryOf(text: string): string | undefined {
  if (text.toLowerCase() === ALL) return ALL;
  const country = text.toUpperCase();
  return countries.has(country) ? country : undefined;
}

function messagingServiceOf({ form }: Call): string {
  const sid = form.required('MessagingServiceSid');
  if (!/^MG[0-9a-fA-F]{32}$/.test(sid)) throw invalid('MessagingServiceSid', 'it must be MG and 32 hexadecimal digits');
  return sid;
}

async function configurationOf(call: Call): Promise<Resource> {
  const { countersign, app } = call;
  const country = countryOf(paramOf(call, 'country')) ?? '';
  const id = derivedSid('MC', paramOf(call, 'service'), country);
  const found = await countersign.resources.get({ app: app.id, kind: KIND, id });
  if (found === undefined) throw missing(call);
  return found;
}

function toBody(call: Call, { parent, body, createdAt, updatedAt }: Resource) {
  return {
    account_sid: call.accountSid,
    service_sid: parent,
    country: body['country'],
    messaging_service_sid: body['messaging_service_sid'],
    date_created: dateOf(createdAt),
    date_updated: dateOf(updatedAt),
    url: urlOf(call, `/Services/${parent}/MessagingConfigurations/${body['country']}`),
  };
}
