import type { FailureReason } from '../../domain/provider.ts';

type Fix = {
  /** ids of definitions; all that begin with one of these words */
  readonly vendors?: readonly string[];
  readonly codes: readonly string[];
  readonly fix: string;
};

/**
 * What to do about a provider's own code, where the code says more than the reason that it stands for. The codes are those
 * of the tables in the provider files, which name their sources.
 */
const fixesByCode: readonly Fix[] = [
  // A trial account, and a recipient that is not on its list.
  {
    vendors: ['twilio'],
    codes: ['21608', '21219', '572002', '572005', '573005', '10002'],
    fix: 'This is a trial account, which sends only to verified numbers: add this one in the console under Phone Numbers, Verified Caller IDs, or upgrade the account.',
  },
  {
    vendors: ['vonage'],
    codes: ['29'],
    fix: 'This is a demo account, which sends only to its test numbers: add this one in the dashboard, or pay into the account.',
  },
  {
    vendors: ['plivo'],
    codes: ['trial'],
    fix: 'This is a trial account, which sends only to sandbox numbers: add this one in the console, or buy credits.',
  },
  {
    vendors: ['infobip'],
    codes: ['REJECTED_DESTINATION_NOT_REGISTERED'],
    fix: 'This is a trial account, which sends only to its own verified number: upgrade it in the portal.',
  },
  {
    vendors: ['aws'],
    codes: ['DESTINATION_PHONE_NUMBER_NOT_VERIFIED'],
    fix: 'The account is in the sandbox, which sends only to verified numbers: verify this one, or ask AWS for production access.',
  },
  {
    vendors: ['whatsapp'],
    codes: ['131030'],
    fix: 'A test number writes only to the recipients of its list: add this one under API Setup, or use a number of your own.',
  },
  {
    vendors: ['eskiz'],
    codes: ['test-account'],
    fix: "A test account takes only Eskiz's own three texts: sign the contract in the cabinet at my.eskiz.uz.",
  },
  // Out of credit, or suspended, which is mostly the same.
  {
    vendors: ['twilio'],
    codes: ['30002', '20005', '10001'],
    fix: 'The Twilio account is suspended, mostly for want of credit: add funds in the console, or ask Twilio why.',
  },
  {
    codes: [
      'balance',
      'credit',
      'BALANCE_NOT_ENOUGH',
      'REJECTED_NOT_ENOUGH_CREDITS',
      'REJECTED_PREPAID_PACKAGE_EXPIRED',
      'MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT',
    ],
    fix: "The account is out of credit, or has reached its own limit of spending: top it up or raise the limit in the provider's cabinet.",
  },
  { vendors: ['vonage'], codes: ['9'], fix: 'The Vonage account is out of credit: pay into it in the dashboard.' },
  {
    vendors: ['vonage'],
    codes: ['8'],
    fix: 'The Vonage account is suspended: look for a notice in the dashboard, or ask Vonage why.',
  },
  {
    vendors: ['plivo'],
    codes: ['900'],
    fix: 'The Plivo account is out of credit: add some in the console under Billing.',
  },
  {
    vendors: ['plivo'],
    codes: ['910'],
    fix: 'The Plivo account is disabled: look for a notice in the console, or ask Plivo why.',
  },
  {
    vendors: ['sinch'],
    codes: ['blocked_account', '413'],
    fix: 'The Sinch account is blocked, mostly for want of credit: pay into it, or ask Sinch why.',
  },
  {
    vendors: ['getsms', 'playmobile'],
    codes: ['102'],
    fix: 'The account is locked, mostly because its balance is used up: pay, or ask the support.',
  },
  {
    vendors: ['whatsapp'],
    codes: ['131031', '368'],
    fix: 'Meta has locked the business account: look under Account Quality in the Business Manager.',
  },
  {
    vendors: ['whatsapp'],
    codes: ['131042'],
    fix: 'The payment method of the business account is missing or fails: correct it in the Business Manager.',
  },
  // Where this account may send.
  {
    vendors: ['twilio'],
    codes: ['21408', '60605', '13227', '21215'],
    fix: 'Sending to this country is switched off in the account: allow it in the console under Geo permissions.',
  },
  {
    vendors: ['plivo'],
    codes: ['450', 'geo-permission'],
    fix: 'Sending to this country is switched off in the account: allow it in the console under Geo Permissions.',
  },
  // The text.
  {
    vendors: ['eskiz'],
    codes: ['not-moderated'],
    fix: 'Eskiz sends approved texts only: hand this text in for moderation in the cabinet, as `texts lint` prints it, with a code of your own in it.',
  },
  // Who it is from.
  {
    vendors: ['twilio'],
    codes: ['21603', '21606', '21607', '21212', '21659', '21660', '21701', '21703', '21704', '21705', '21210', '21213'],
    fix: 'The sender is not one of this account: set TWILIO_PHONE_NUMBER to a number of the console with + and country code, or correct TWILIO_MESSAGING_SERVICE_SID.',
  },
  {
    codes: ['sender', 'src', 'REJECTED_SOURCE', 'REJECTED_SENDER', 'SENDER_NOT_VERIFIED', 'SENDER_NOT_OWNED'],
    fix: "The sender is not approved for this account: set the one that the provider's cabinet shows as approved.",
  },
];

/** What to do where only the reason is known. */
const fixesByReason: Readonly<Record<FailureReason | 'expired', string>> = {
  recipient:
    'The provider says that this number cannot receive it: write it internationally, + and country code, and check that the phone is in service.',
  blocked:
    'This account may not send to this number: a trial account needs it on the list of verified recipients, the country must be allowed in the account, and the person must not have replied STOP.',
  content:
    "The text or the sender was refused: hand the text in for approval, and set a sender that the provider's cabinet shows as approved.",
  coverage: 'This provider does not reach that network: put another one before it in the route of this country.',
  account:
    'The account was refused: copy the credentials from the cabinet again, and look there for an empty balance or a suspension.',
  throttled: 'The provider asks to slow down: try again in a moment, and set maxPerSecond for it if that comes again.',
  unavailable:
    "The provider could not be reached, or could not do it now: check name resolution, firewall and proxy of this machine, and the provider's status page.",
  uncertain:
    'The provider did not say whether it took the message: look at the phone and into its cabinet before trying again.',
  expired: 'The message was not handed over in time: try again.',
};

/** @param definition id of the provider's definition, e.g. `twilio` for a second account of it too */
export function fixOfCode(definition: string, code: string | undefined): string | undefined {
  return fixesByCode.find(
    ({ vendors, codes }) =>
      code !== undefined &&
      codes.includes(code) &&
      (vendors === undefined || vendors.some((vendor) => `${definition}-`.startsWith(`${vendor}-`))),
  )?.fix;
}

export function fixOfReason(reason: FailureReason | 'expired' | undefined): string {
  return fixesByReason[reason ?? 'uncertain'];
}
