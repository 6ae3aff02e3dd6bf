// Loaded before everything else of a process (`node --import`): its clock is off by SHIFTED_CLOCK_MS, as that of a machine
// without NTP. The monotonic clock is as it was.
const offMs = Number(process.env['SHIFTED_CLOCK_MS'] ?? 0);
const { now } = Date;

class ShiftedDate extends Date {
  static override now(): number {
    return now() + offMs;
  }

  constructor(...given: unknown[]) {
    if (given.length === 0) super(ShiftedDate.now());
    else super(...(given as [number]));
  }
}

globalThis.Date = ShiftedDate as DateConstructor;
