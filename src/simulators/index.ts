import { awsSimulator } from './aws.ts';
import { eskizSimulator } from './eskiz.ts';
import { getsmsSimulator } from './getsms.ts';
import { httpJsonSimulator, httpSimulator } from './http.ts';
import { infobipSimulator } from './infobip.ts';
import { messaggioSimulator } from './messaggio.ts';
import { messaggioOtpSimulator } from './messaggio-otp.ts';
import { playmobileSimulator } from './playmobile.ts';
import { plivoSimulator } from './plivo.ts';
import type { SimulatorDefinition } from './simulator-kit.ts';
import { sinchSimulator } from './sinch.ts';
import { smppSimulator } from './smpp.ts';
import { smtpSimulator } from './smtp.ts';
import { telegramSimulator } from './telegram.ts';
import { twilioSimulator, twilioVoiceSimulator } from './twilio.ts';
import { twilioVerifySimulator } from './twilio-verify.ts';
import { vonageSimulator } from './vonage.ts';
import { whatsappSimulator } from './whatsapp.ts';

/** Every vendor that can be simulated: one for each provider. */
export const simulatorDefinitions: readonly SimulatorDefinition[] = [
  eskizSimulator,
  playmobileSimulator,
  getsmsSimulator,
  messaggioSimulator,
  messaggioOtpSimulator,
  twilioSimulator,
  twilioVerifySimulator,
  vonageSimulator,
  infobipSimulator,
  plivoSimulator,
  sinchSimulator,
  awsSimulator,
  smppSimulator,
  httpSimulator,
  httpJsonSimulator,
  twilioVoiceSimulator,
  whatsappSimulator,
  telegramSimulator,
  smtpSimulator,
];
