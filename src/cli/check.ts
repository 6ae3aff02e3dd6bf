import { toBody } from '../http/routes/verifications.ts';
import { appOption, defineCommand, expectPositionals, jsonOption } from './command.ts';
import { chooseApp, withInstallation } from './installation.ts';
import { exitCodes, print, printJson, printRefusal, problemBodyOf, UsageError } from './output.ts';

export const check = defineCommand({
  name: 'check',
  positionals: '<id> <code>',
  description: `Checks a code, by the verification's id or, with --to, by number. It works on the store itself, beside a
running server or without one, and counts like any other check. Prints the approval token.
A code that is not approved exits with 3.`,
  options: {
    to: { type: 'string', value: 'NUMBER', help: 'the number, in the place of the id' },
    app: appOption,
    country: { type: 'string', value: 'CC', help: 'ISO 3166-1, for a number in national form' },
    purpose: { type: 'string', value: 'WORD', help: "what the code is for; with --to 'login' unless told otherwise" },
    json: jsonOption,
  },
  examples: ['check ver_01jd3n8v4kq2xw7c9r5t6y0abz 042917', 'check --to +998901234567 042917'],
  async run({ to, app: named, country, purpose, json }, positionals) {
    const [first = '', second = ''] =
      to === undefined
        ? expectPositionals('check', positionals, 'the id of a verification (ver_…)', 'the code')
        : ['', ...expectPositionals('check', positionals, 'the code')];
    if (to === undefined && country !== undefined)
      throw new UsageError('--country goes with --to: an id belongs to one number already', 'check');
    // A provider that made the code itself is asked about it; others take no part.
    return withInstallation('store and managed providers', async (composed) => {
      const app = chooseApp(composed, named, 'check');
      const more = purpose === undefined ? {} : { purpose };
      const answer = await composed.countersign.verifications.check(
        to === undefined
          ? { app, id: first, code: second, ...more }
          : { app, to, code: second, ...more, ...(country === undefined ? {} : { country: country.toUpperCase() }) },
      );
      if (answer.kind === 'refused') return printRefusal(problemBodyOf(answer), json === true);
      const { verification, token } = answer;
      if (json === true) printJson({ ...toBody(verification), token });
      else
        print(`Approved: ${verification.to} is held by whoever had this code (app ${app}, purpose ${verification.purpose}).

  Verification  ${verification.id}
  Token         ${token}`);
      return exitCodes.done;
    });
  },
});
