import type { TObject } from 'typebox';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import { aws } from './aws.ts';
import { eskiz } from './eskiz.ts';
import { getsms } from './getsms.ts';
import { http } from './http.ts';
import { infobip } from './infobip.ts';
import { messaggio } from './messaggio.ts';
import { messaggioOtp } from './messaggio-otp.ts';
import { playmobile } from './playmobile.ts';
import { plivo } from './plivo.ts';
import { sinch } from './sinch.ts';
import { smpp } from './smpp.ts';
import { smtp } from './smtp.ts';
import { telegram } from './telegram.ts';
import { twilio } from './twilio.ts';
import { twilioVerify } from './twilio-verify.ts';
import { twilioVoice } from './twilio-voice.ts';
import { vonage } from './vonage.ts';
import { whatsapp } from './whatsapp.ts';

/** Every provider that credentials can switch on, in the order in which an app without routes tries them. */
export const providerDefinitions = [
  eskiz,
  playmobile,
  getsms,
  messaggio,
  messaggioOtp,
  twilio,
  twilioVerify,
  vonage,
  infobip,
  plivo,
  sinch,
  aws,
  smpp,
  http,
  twilioVoice,
  whatsapp,
  telegram,
  smtp,
] satisfies readonly { readonly id: string }[] as readonly unknown[] as readonly ProviderDefinition<TObject>[];
