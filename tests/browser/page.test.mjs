// The built page in a real Chromium against the scripted server.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { DESKTOP, PHONE, ask, launch, openPage, settled, shot } from './harness.mjs';
import { startMock } from './mock-server.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LIMIT = { timeout: 120_000 };
const SUITE = { timeout: 900_000 };
let browser, mock;

/** Runs `body` on a fresh page and fails on anything that went wrong inside it. */
function withPage(options, body) {
  return async () => {
    const opened = await openPage(browser, mock.url, options);
    try {
      await body(opened.page, opened);
      assert.deepEqual(opened.trouble, []);
    } finally {
      await opened.context.close();
    }
  };
}

const answers = (page) => page.locator('.assistant .prose');
const noSideways = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth);

async function violations(page) {
  // The page's policy refuses a script tag; the debugger's own evaluation is not bound by it.
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }));
  return found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
}

before(async () => {
  mock = await startMock();
  browser = await launch();
}, LIMIT);
after(async () => {
  await browser?.close();
  await mock?.down();
});

describe('chat', SUITE, () => {
  test('a question streams in, with highlighted code and its numbers', LIMIT, withPage({}, async (page) => {
    await page.locator('.model', { hasText: 'Q4_K_M' }).waitFor();
    await shot(page, 'mock-empty-desktop');
    // Every length that the answer has while it is busy, however slow the machine is to look.
    await page.evaluate(() => {
      window.lengths = new Set();
      new MutationObserver(() => {
        const prose = document.querySelector('.assistant[aria-busy="true"] .prose');
        if (prose) window.lengths.add(prose.textContent.length);
      }).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await ask(page, 'How does a hash table work?');
    await answers(page).waitFor();
    await settled(page);
    assert.ok(await page.evaluate(() => window.lengths.size) > 3, 'the answer came in one piece');
    assert.ok((await page.locator('pre .token.keyword').count()) > 3);
    assert.match(await answers(page).innerText(), /用空间换时间 🪨🖌️/);
    assert.match(await page.locator('.stats').innerText(), /[\d.]+ tok\/s.*412 tokens.*to first token/s);
    assert.match(await page.locator('.context').innerText(), /733 of 8,192/);
    assert.equal(await page.locator('.prose td').count(), 6);
    await shot(page, 'mock-chat-desktop');
  }));

  test('the ink is ground until the first token comes', LIMIT, withPage({}, async (page) => {
    await ask(page, 'slow');
    await page.locator('.wait', { hasText: 'Grinding the ink' }).waitFor();
    await settled(page);
    assert.equal(await page.locator('.wait').count(), 0);
    assert.match(await page.locator('.stats').innerText(), /[2-9]\.\d s to first token/);
  }));

  test('several rounds send the history; a new chat does not', LIMIT, withPage({}, async (page) => {
    mock.calls.length = 0;
    await ask(page, 'length one');
    await settled(page);
    await ask(page, 'think two');
    await settled(page);
    await page.getByText('Thought for').click();
    await page.getByText('First I consider').waitFor();
    assert.deepEqual(mock.calls[1].messages.map(({ role, content }) => `${role}:${content}`), ['user:length one', 'assistant:Too long to', 'user:think two']);
    assert.equal(mock.calls[1].stream, true);
    await page.getByRole('button', { name: 'New chat' }).first().click();
    await ask(page, 'length three');
    await settled(page);
    assert.deepEqual(mock.calls[2].messages, [{ role: 'user', content: 'length three' }]);
    assert.equal(await page.locator('nav li').count(), 2);
  }));

  test('five rounds are asked for, and what is left out is told', LIMIT, withPage({}, async (page) => {
    for (let i = 1; i <= 7; i++) {
      await ask(page, `length ${i}`);
      await settled(page);
      assert.equal(await page.locator('.note', { hasText: 'left out' }).count(), Math.max(0, i - 5));
    }
    assert.equal(mock.calls.at(-1).context_policy, 'rounds=5');
    assert.equal(mock.calls.at(-1).messages.length, 13);
    await page.getByText('4 older messages were left out.').waitFor();
    await shot(page, 'mock-left-out-desktop');
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('Rounds to remember').fill('');
    await page.keyboard.press('Tab');
    await shot(page, 'mock-settings-desktop');
    await page.keyboard.press('Escape');
    await ask(page, 'length 8');
    await settled(page);
    assert.equal(mock.calls.at(-1).context_policy, 'window');
    assert.equal(await page.locator('.note', { hasText: 'left out' }).count(), 2);
  }));

  test('Stop ends the answer and the request', LIMIT, withPage({}, async (page) => {
    const aborted = mock.state.aborted;
    await ask(page, 'forever');
    await answers(page).waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await settled(page);
    await page.locator('.note', { hasText: 'Stopped' }).waitFor();
    const length = (await answers(page).innerText()).length;
    await page.waitForTimeout(300);
    assert.equal((await answers(page).innerText()).length, length);
    assert.equal(mock.state.aborted, aborted + 1);
  }));

  test('conversations outlive a reload, and can be renamed, deleted and restored', LIMIT, withPage({}, async (page) => {
    await ask(page, 'length first');
    await settled(page);
    await page.reload();
    await page.getByText('Too long to').waitFor();
    await page.getByRole('button', { name: /^Rename/ }).click();
    await page.getByLabel('Conversation name').fill('砚台 Ink');
    await page.keyboard.press('Enter');
    await page.locator('nav .title', { hasText: '砚台 Ink' }).waitFor();
    await page.getByRole('button', { name: /^Delete/ }).click();
    await page.getByRole('heading', { name: 'What shall we write?' }).waitFor();
    assert.equal(await page.locator('nav li').count(), 0);
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.locator('nav .title', { hasText: '砚台 Ink' }).click();
    await page.getByText('Too long to').waitFor();
  }));

  test('an earlier question can be edited, an answer regenerated', LIMIT, withPage({}, async (page) => {
    await ask(page, 'length one');
    await settled(page);
    await page.locator('.user').hover();
    await page.getByRole('button', { name: 'Edit message' }).click();
    await page.locator('.editor textarea').fill('length two');
    await page.keyboard.press('Enter');
    await settled(page);
    assert.equal(await page.locator('.user').innerText(), 'length two');
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await settled(page);
    assert.deepEqual(mock.calls.at(-1).messages, [{ role: 'user', content: 'length two' }]);
    assert.equal(await page.locator('.assistant').count(), 1);
  }));

  test('the view follows a long answer until the reader scrolls up', LIMIT, withPage({}, async (page) => {
    const gap = () => page.locator('.scroller').evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight);
    await ask(page, 'a long one');
    await page.waitForFunction(() => document.querySelector('.scroller')?.scrollHeight > 2500);
    assert.ok((await gap()) < 200);
    await page.locator('.scroller').hover();
    await page.mouse.wheel(0, -400);
    await page.getByRole('button', { name: 'Jump to latest' }).waitFor();
    const before = await gap();
    await page.waitForFunction((least) => {
      const box = document.querySelector('.scroller');
      return box.scrollHeight - box.scrollTop - box.clientHeight > least;
    }, before + 300);
    await page.getByRole('button', { name: 'Jump to latest' }).click();
    await page.getByRole('button', { name: 'Jump to latest' }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Stop' }).click();
  }));
});

describe('trouble', SUITE, () => {
  test('hostile answers stay inert', LIMIT, withPage({}, async (page) => {
    await ask(page, 'hostile');
    await page.getByText('done-hostile').waitFor();
    await settled(page);
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    assert.equal(await page.locator('.prose :is(script, img, svg, iframe, style, form)').count(), 0);
    const links = await page.locator('.prose a').evaluateAll((all) => all.map((a) => [a.protocol, a.target, a.rel]));
    assert.ok(links.length >= 2);
    for (const [protocol, target, rel] of links) {
      assert.match(protocol, /^https?:$/);
      assert.equal(target, '_blank');
      assert.match(rel, /noopener/);
    }
  }));

  test('errors are told in place and can be retried', LIMIT, withPage({}, async (page) => {
    await ask(page, 'fail once');
    await page.locator('.error', { hasText: 'Out of ink.' }).waitFor();
    await page.getByRole('button', { name: 'Try again' }).click();
    await settled(page);
    await page.locator('.error').waitFor({ state: 'detached' });
    await ask(page, 'broken');
    await page.locator('.error', { hasText: 'The backend ran out of ink.' }).waitFor();
    assert.match(await answers(page).last().innerText(), /This breaks/);
    await ask(page, 'cut off');
    await page.locator('.error', { hasText: 'The connection closed' }).waitFor();
    await ask(page, 'too much');
    await page.locator('.error', { hasText: 'no longer fits' }).waitFor();
    await ask(page, 'length');
    await page.getByText('reached its token limit').waitFor();
  }));

  test('a server that is away is announced and found again', LIMIT, withPage({}, async (page) => {
    await page.locator('.light.ready').waitFor();
    await mock.down();
    try {
      await ask(page, 'length');
      await page.locator('.error', { hasText: 'could not be reached' }).waitFor();
      await page.locator('.banner').waitFor();
    } finally {
      await mock.up();
    }
    await page.locator('.banner').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('Too long to').waitFor();
  }));
});

describe('input and shape', SUITE, () => {
  test('Enter in an input method chooses a candidate and does not send', LIMIT, withPage({}, async (page, { context }) => {
    mock.calls.length = 0;
    const devtools = await context.newCDPSession(page);
    await page.locator('form.composer textarea').focus();
    await devtools.send('Input.imeSetComposition', { text: 'ni hao', selectionStart: 6, selectionEnd: 6 });
    await page.keyboard.press('Enter');
    await page.waitForTimeout(200);
    assert.equal(mock.calls.length, 0);
    await devtools.send('Input.insertText', { text: '你好 length' });
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('x');
    assert.equal(mock.calls.length, 0);
    await page.keyboard.press('Enter');
    await settled(page);
    assert.match(mock.calls[0].messages[0].content, /你好 length\nx$/);
  }));

  test('settings reach the request and survive a reload; the page speaks Chinese', LIMIT, withPage({ locale: 'zh-CN' }, async (page) => {
    await page.getByRole('heading', { name: '今天写点什么？' }).waitFor();
    await shot(page, 'mock-empty-zh');
    await page.getByRole('button', { name: '设置' }).click();
    await page.getByLabel('系统提示词').fill('Be brief.');
    await page.getByLabel('温度', { exact: true }).fill('0.3');
    await page.getByLabel('随机种子').fill('7');
    await page.getByLabel('English').check();
    await page.getByRole('heading', { name: 'Settings' }).waitFor();
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press('Escape');
    await page.reload();
    await ask(page, 'length');
    await settled(page);
    const { messages, temperature, seed, top_p } = mock.calls.at(-1);
    assert.deepEqual({ system: messages[0], temperature, seed, top_p }, { system: { role: 'system', content: 'Be brief.' }, temperature: 0.3, seed: 7, top_p: undefined });
  }));

  test('a phone has a drawer and no sideways scroll', LIMIT, withPage({ viewport: PHONE, touch: true, scale: 2 }, async (page) => {
    await page.getByRole('heading', { name: 'What shall we write?' }).waitFor();
    assert.ok(await noSideways(page));
    await shot(page, 'mock-empty-phone');
    await ask(page, 'hash table');
    await settled(page);
    assert.ok(await noSideways(page));
    await shot(page, 'mock-chat-phone');
    assert.deepEqual(await violations(page), []);
    await page.getByRole('button', { name: 'Show conversations' }).click();
    await page.locator('nav .title').waitFor();
    await page.waitForTimeout(300);
    assert.ok(await noSideways(page));
    await page.getByRole('button', { name: 'New chat' }).first().click();
    await page.getByRole('heading', { name: 'What shall we write?' }).waitFor();
  }));

  test('axe finds nothing serious, empty and in conversation', LIMIT, withPage({ viewport: DESKTOP }, async (page) => {
    await page.locator('.light.ready').waitFor();
    assert.deepEqual(await violations(page), []);
    await ask(page, 'hash table');
    await settled(page);
    await ask(page, 'broken');
    await page.locator('.error').waitFor();
    await page.waitForTimeout(300);
    assert.deepEqual(await violations(page), []);
  }));

  test('everything can be done by keyboard', LIMIT, withPage({}, async (page) => {
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'TEXTAREA');
    await page.keyboard.type('forever');
    await page.keyboard.press('Enter');
    await answers(page).waitFor();
    await page.keyboard.press('Escape');
    await page.locator('.note', { hasText: 'Stopped' }).waitFor();
  }));
});
