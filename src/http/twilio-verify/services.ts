import type { Resource } from '../../domain/store.ts';
import type { App } from '../../service/app.ts';
import type { Countersign } from '../../service/countersign.ts';
import { type Call, created, dateOf, missing, ok, type Path, paramOf, removed, urlOf } from './call.ts';
import { invalid, TwilioError } from './errors.ts';
import type { Form } from './forms.ts';
import { resourcesOf, sliceAnswer } from './lists.ts';
import { newSid } from './sids.ts';
import { templateSidOf } from './templates.ts';

const KIND = 'verify-service';
/** For each app: all of them are read for a page. */
const MOST_SERVICES = 1000;

/** A Twilio service: the purpose that its verifications have. */
export type Service = {
  readonly sid: string;
  readonly friendlyName: string;
  readonly codeLength: number;
  readonly isCustomCodeEnabled: boolean;
};

export const servicePaths: readonly Path[] = [
  {
    path: '/Services',
    async GET(call) {
      const services = await resourcesOf(call, KIND);
      return sliceAnswer(
        call,
        '/Services',
        'services',
        services.map((each) => toBody(call, each)),
      );
    },
    async POST(call) {
      const { countersign, app, form } = call;
      form.required('FriendlyName');
      const added = await countersign.resources.add({
        app: app.id,
        kind: KIND,
        id: newSid('VA'),
        body: { ...defaults, ...settingsOf(call, form) },
        most: MOST_SERVICES,
      });
      if (added.kind !== 'added') throw new TwilioError(60200, `An account may have ${MOST_SERVICES} services.`);
      return created(toBody(call, added.resource));
    },
  },
  {
    path: '/Services/:service',
    async GET(call) {
      return ok(toBody(call, await resourceOf(call)));
    },
    async POST(call) {
      const { countersign, app, form } = call;
      const { id } = await resourceOf(call);
      const updated = await countersign.resources.update({
        app: app.id,
        kind: KIND,
        id,
        body: settingsOf(call, form),
      });
      if (updated.kind !== 'updated') throw missing(call);
      return ok(toBody(call, updated.resource));
    },
    async DELETE(call) {
      const { countersign, app } = call;
      const isRemoved = await countersign.resources.remove({ app: app.id, kind: KIND, id: paramOf(call, 'service') });
      if (!isRemoved) throw missing(call);
      return removed();
    },
  },
];

/** Makes the services that callers named before they came here, unless they are there. */
export async function makeServices(
  { resources }: Pick<Countersign, 'resources'>,
  { id: app, brand, codeLength, twilioVerify }: App,
): Promise<void> {
  // Five digits in the name could be taken for the code.
  const friendlyName =
    brand
      .replace(/\p{Nd}/gu, '')
      .trim()
      .slice(0, MAX_NAME_CHARS) || app;
  const body = { ...defaults, friendly_name: friendlyName, code_length: codeLength };
  for (const id of twilioVerify?.services ?? []) await resources.add({ app, kind: KIND, id, body });
}

/** The service of the path. @throws TwilioError 20404 when the app has no such one */
export async function serviceOf(call: Call): Promise<Service> {
  const { id, body } = await resourceOf(call);
  return {
    sid: id,
    friendlyName: String(body['friendly_name']),
    codeLength: Number(body['code_length']),
    isCustomCodeEnabled: body['custom_code_enabled'] === true,
  };
}

async function resourceOf(call: Call): Promise<Resource> {
  const { countersign, app } = call;
  const found = await countersign.resources.get({ app: app.id, kind: KIND, id: paramOf(call, 'service') });
  if (found === undefined) throw missing(call);
  return found;
}

/** What is kept of a service, under the names that it is answered with. */
const defaults = {
  code_length: 6,
  skip_sms_to_landlines: false,
  tts_name: null,
  do_not_share_warning_enabled: false,
  custom_code_enabled: false,
  default_template_sid: null,
};

/** Settings of products that there are not here: to take them would be to promise what nobody does. */
const refusedPrefixes = ['Push.', 'Totp.', 'Passkeys.', 'Whatsapp.'];
const refusedFlags = {
  LookupEnabled: 'numbers are not looked up here',
  Psd2Enabled: 'there are no payments here',
  DtmfInputRequired: 'a call reads the code at once',
  VerifyEventSubscriptionEnabled: 'there are no event streams here',
};

const MAX_NAME_CHARS = 32;
const MAX_NAME_DIGITS = 4;

/** @param parameter what the name was given as */
export function friendlyNameOf(form: Form, parameter: string): string | undefined {
  const name = form.text(parameter, MAX_NAME_CHARS);
  if (name === undefined) return undefined;
  // Five digits could be taken for the code.
  if ((name.match(/\p{Nd}/gu)?.length ?? 0) > MAX_NAME_DIGITS)
    throw invalid(parameter, `it may hold ${MAX_NAME_DIGITS} digits at the most`);
  if (/\p{Cc}/u.test(name) || name.trim() === '') throw invalid(parameter, 'it must be one line of text');
  return name;
}

function settingsOf({ app }: Call, form: Form): Record<string, string | number | boolean> {
  for (const name of form.names()) {
    if (refusedPrefixes.some((prefix) => name.startsWith(prefix)) && form.text(name) !== undefined)
      throw invalid(name, 'this product does not exist here');
  }
  for (const [name, why] of Object.entries(refusedFlags)) {
    if (form.flag(name) === true) throw invalid(name, why);
  }
  const template = form.text('DefaultTemplateSid');
  if (template !== undefined && template !== templateSidOf(app)) throw new TwilioError(60228, 'Template was not found');
  const settings = {
    friendly_name: friendlyNameOf(form, 'FriendlyName'),
    code_length: form.integer('CodeLength', 4, 10),
    skip_sms_to_landlines: form.flag('SkipSmsToLandlines'),
    tts_name: form.text('TtsName'),
    do_not_share_warning_enabled: form.flag('DoNotShareWarningEnabled'),
    custom_code_enabled: form.flag('CustomCodeEnabled'),
    default_template_sid: template,
  };
  return Object.fromEntries(
    Object.entries(settings).filter((each): each is [string, string | number | boolean] => each[1] !== undefined),
  );
}

function toBody(call: Call, { id, body, createdAt, updatedAt }: Resource) {
  const url = urlOf(call, `/Services/${id}`);
  return {
    sid: id,
    account_sid: call.accountSid,
    friendly_name: body['friendly_name'],
    code_length: body['code_length'],
    lookup_enabled: false,
    psd2_enabled: false,
    skip_sms_to_landlines: body['skip_sms_to_landlines'],
    dtmf_input_required: false,
    tts_name: body['tts_name'],
    do_not_share_warning_enabled: body['do_not_share_warning_enabled'],
    custom_code_enabled: body['custom_code_enabled'],
    push: { include_date: false, apn_credential_sid: null, fcm_credential_sid: null },
    totp: { issuer: body['friendly_name'], time_step: 30, code_length: 6, skew: 1 },
    whatsapp: { msg_service_sid: null, from: null },
    passkeys: {
      relying_party: { id: null, name: null, origins: null },
      authenticator_attachment: null,
      discoverable_credentials: null,
      user_verification: null,
    },
    default_template_sid: body['default_template_sid'],
    verify_event_subscription_enabled: false,
    date_created: dateOf(createdAt),
    date_updated: dateOf(updatedAt),
    url,
    links: {
      verification_checks: `${url}/VerificationCheck`,
      verifications: `${url}/Verifications`,
      rate_limits: `${url}/RateLimits`,
      messaging_configurations: `${url}/MessagingConfigurations`,
      entities: `${url}/Entities`,
      webhooks: `${url}/Webhooks`,
      access_tokens: `${url}/AccessTokens`,
    },
  };
}
