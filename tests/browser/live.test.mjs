// One question to a real server, whose address is in INKSTONE_URL.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DESKTOP, PHONE, ask, launch, openPage, settled, shot } from './harness.mjs';

const ANSWER_MS = Number(process.env.INKSTONE_ANSWER_MS ?? 240_000);
const QUESTION = process.env.INKSTONE_QUESTION ?? 'Write one sentence about ink.';

test('a real model answers in the page', { timeout: 2 * ANSWER_MS + 120_000 }, async () => {
  const url = process.env.INKSTONE_URL;
  assert.ok(url, 'INKSTONE_URL must name a running server');
  const browser = await launch();
  try {
    for (const [name, options] of [['desktop', { viewport: DESKTOP }], ['phone', { viewport: PHONE, touch: true, scale: 2 }]]) {
      const { page, context, trouble } = await openPage(browser, new URL('/', url).href, options);
      await ask(page, QUESTION);
      await page.locator('.assistant .prose, .assistant .thinking').first().waitFor({ timeout: ANSWER_MS });
      await settled(page, ANSWER_MS);
      await page.waitForTimeout(300);
      await shot(page, `chat-${name}`);
      assert.equal(await page.locator('.error').count(), 0);
      const answer = await page.locator('.assistant .body').innerText();
      assert.ok((await page.locator('.assistant .prose').first().innerText()).trim().length > 0, 'the answer is empty');
      assert.match(answer, /tok\/s/, 'the usage is missing');
      assert.deepEqual(trouble, []);
      await context.close();
    }
  } finally {
    await browser.close();
  }
});
