// Cases that run one after the other: a line for each, and an exit code that says whether all passed.

// A picture of one point.
export const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/** What the test that started this program says. */
export function setting(name) {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

export function check(truth, seen) {
  if (!truth) throw new Error(`unexpected: ${JSON.stringify(seen, null, 1) ?? seen}`);
}

/** The error of `call`, which must be of exactly this class. */
export async function raises(kind, call) {
  let error;
  try {
    await call();
  } catch (raised) {
    error = raised;
  }
  if (error?.constructor !== kind) throw new Error(`${error?.constructor?.name} instead of ${kind.name}: ${error}`);
  return error;
}

export async function run(cases) {
  let failed = 0;
  for (const one of cases) {
    try {
      await one();
      console.log(`ok ${one.name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${one.name}\n${error.stack}`);
    }
  }
  console.log(`${cases.length - failed} passed, ${failed} failed`);
  process.exit(failed || !cases.length ? 1 : 0);
}
