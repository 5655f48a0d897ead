#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a server in the way of OpenAI's own client, and says what came as lines of JSON.

    openai_client.py URL KEY
"""
import json
import sys

import openai


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


def main():
    url, key = sys.argv[1:]
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)
    model = client.models.list().data[0].id
    say("models", id=model, same=client.models.retrieve(model).id == model)

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    chat = client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    say(
        "chat",
        role=chat.choices[0].message.role,
        text=chat.choices[0].message.content,
        finish=chat.choices[0].finish_reason,
        tokens=chat.usage.completion_tokens,
        told=len(chat.choices[0].logprobs.content),
        top=len(chat.choices[0].logprobs.content[0].top_logprobs),
    )

    stream = client.chat.completions.create(
        model=model,
        messages=messages,
        max_completion_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, finish, usage = "", None, None
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    say("stream", text=text, finish=finish, tokens=usage.completion_tokens)

    completion = client.completions.create(
        model=model, prompt=["One", "Two"], n=2, max_tokens=5, seed=1, logprobs=2, extra_body={"top_k": 20, "min_p": 0.01}
    )
    say(
        "completion",
        choices=[choice.index for choice in completion.choices],
        told=[len(choice.logprobs.tokens) for choice in completion.choices],
    )

    with client.completions.create(model=model, prompt="Endless", max_tokens=4000, stream=True) as endless:
        next(iter(endless))
    say("left")

    failures = []
    for ask in [
        lambda: openai.OpenAI(base_url=url, api_key="not-the-key", max_retries=0).models.list(),
        lambda: client.models.retrieve("nobody"),
        lambda: client.chat.completions.create(model="nobody", messages=messages),
        lambda: client.chat.completions.create(model=model, messages=[]),
        lambda: client.completions.create(model=model, prompt="x " * 5_000_000),
    ]:
        try:
            ask()
            failures.append("nothing")
        except openai.APIStatusError as error:
            failures.append(f"{type(error).__name__} {error.code}")
    say("errors", names=failures)


main()
