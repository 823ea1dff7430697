"""A Pipecat bot with a screen, in a terminal instead of a call.

    pip install "companion-ws[pipecat]"
    COMPANION_TOKEN=… OPENAI_API_KEY=… python pipecat_agent.py

You type, the bot answers. In a call, `transport.input()` and the speech recognition stand before
`screen`, the voice and `transport.output()` behind `llm`; the rest stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from pipecat.frames.frames import EndFrame, LLMMessagesAppendFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.workers.runner import WorkerRunner

from companion_ws import CompanionClient
from companion_ws.voice.pipecat import PROMPT, CompanionProcessor, register_companion_tools


async def main() -> None:
    url = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
    async with CompanionClient(url, token=os.environ["COMPANION_TOKEN"]) as companion:
        llm = OpenAILLMService(
            api_key=os.environ["OPENAI_API_KEY"], base_url=os.environ.get("OPENAI_BASE_URL")
        )
        tools = register_companion_tools(llm, companion)
        context = LLMContext([{"role": "system", "content": PROMPT}], tools=tools)
        aggregators = LLMContextAggregatorPair(context)
        screen = CompanionProcessor(companion)  # what is said to the session, taps to the bot
        bot = aggregators.assistant()

        @bot.event_handler("on_assistant_turn_stopped")
        async def show(_: Any, message: Any) -> None:
            if message.content:
                print(f"Agent: {message.content}", flush=True)

        worker = PipelineWorker(Pipeline([screen, aggregators.user(), llm, bot]))
        runner = WorkerRunner()
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        while line := await asyncio.to_thread(sys.stdin.readline):
            message = {"role": "user", "content": line.strip()}
            await worker.queue_frame(LLMMessagesAppendFrame([message], run_llm=True))
        await worker.queue_frame(EndFrame())
        await running


if __name__ == "__main__":
    asyncio.run(main())
